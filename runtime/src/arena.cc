#include "arena.h"

#include <sys/mman.h>

#include "checked.h"

#ifdef TC_ADDRESS_SANITIZER  // set by the build
#include <sanitizer/asan_interface.h>
#endif

namespace tiercast {
namespace {

constexpr uint64_t kPage = 4096;                   // the guard on either side; only for the sanitizer's eyes
constexpr uint64_t kHugePage = uint64_t{2} << 20;  // what the kernel may back a large arena with, for fewer TLB misses

// Tells AddressSanitizer that what lies around the arena in its mapping is not ours to touch.
void set_guards(const Arena& arena, bool on) {
#ifdef TC_ADDRESS_SANITIZER
  ASAN_UNPOISON_MEMORY_REGION(arena.mapping, arena.mapping_size);
  if (!on) return;
  const uint8_t* end = arena.bytes + arena.size;
  ASAN_POISON_MEMORY_REGION(arena.mapping, static_cast<size_t>(arena.bytes - arena.mapping));
  ASAN_POISON_MEMORY_REGION(end, static_cast<size_t>(arena.mapping + arena.mapping_size - end));
#else
  (void)arena, (void)on;
#endif
}

}  // namespace

bool arena_make(uint64_t size, Arena* arena) {
  if (size > SIZE_MAX / 2) return false;
  const uint64_t alignment = size >= kHugePage ? kHugePage : kPage;
  const uint64_t mapping_size = alignment + round_up(size, kPage) + kPage;
  void* mapping = mmap(nullptr, static_cast<size_t>(mapping_size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return false;
  arena->mapping = static_cast<uint8_t*>(mapping);
  arena->mapping_size = mapping_size;
  const auto start = reinterpret_cast<uintptr_t>(mapping);
  arena->bytes = arena->mapping + (round_up(start + kPage, alignment) - start);
  arena->size = size;
#ifdef MADV_HUGEPAGE
  if (alignment == kHugePage) madvise(arena->bytes, static_cast<size_t>(size), MADV_HUGEPAGE);  // a refusal costs speed only
#endif
  set_guards(*arena, true);
  return true;
}

void arena_free(Arena* arena) {
  if (arena->mapping == nullptr) return;
  set_guards(*arena, false);
  munmap(arena->mapping, static_cast<size_t>(arena->mapping_size));
  *arena = Arena();
}

void arena_hide(const Arena& arena) {
#ifdef TC_ADDRESS_SANITIZER
  ASAN_POISON_MEMORY_REGION(arena.bytes, arena.size);
#else
  (void)arena;
#endif
}

void arena_show(const void* begin, uint64_t bytes) {
#ifdef TC_ADDRESS_SANITIZER
  ASAN_UNPOISON_MEMORY_REGION(begin, bytes);
#else
  (void)begin, (void)bytes;
#endif
}

}  // namespace tiercast
