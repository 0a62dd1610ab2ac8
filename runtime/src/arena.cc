#include "arena.h"

#include <sys/mman.h>

#include "checked.h"

#ifdef TC_ADDRESS_SANITIZER  // set by the build
#include <sanitizer/asan_interface.h>
#endif

namespace tiercast {
namespace {

constexpr uint64_t kPage = 4096;  // the guard on either side; only for the sanitizer's eyes

uint64_t mapped_bytes(uint64_t size) { return kPage + round_up(size, kPage) + kPage; }

// Tells AddressSanitizer that the guards, and the slack after the last byte, are not ours to touch.
void set_guards(const Arena& arena, bool on) {
#ifdef TC_ADDRESS_SANITIZER
  const uint64_t after = mapped_bytes(arena.size) - kPage - arena.size;
  if (on) {
    ASAN_POISON_MEMORY_REGION(arena.bytes - kPage, kPage);
    ASAN_POISON_MEMORY_REGION(arena.bytes + arena.size, after);
  } else {
    ASAN_UNPOISON_MEMORY_REGION(arena.bytes - kPage, mapped_bytes(arena.size));
  }
#else
  (void)arena, (void)on;
#endif
}

}  // namespace

bool arena_make(uint64_t size, Arena* arena) {
  if (size > SIZE_MAX / 2) return false;
  void* mapped = mmap(nullptr, static_cast<size_t>(mapped_bytes(size)), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return false;
  arena->bytes = static_cast<uint8_t*>(mapped) + kPage;
  arena->size = size;
  set_guards(*arena, true);
  return true;
}

void arena_free(Arena* arena) {
  if (arena->bytes == nullptr) return;
  set_guards(*arena, false);
  munmap(arena->bytes - kPage, static_cast<size_t>(mapped_bytes(arena->size)));
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
