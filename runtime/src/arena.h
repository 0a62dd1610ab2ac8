// The one block of memory that a session's tensors and scratch live in.
#ifndef TIERCAST_SRC_ARENA_H_
#define TIERCAST_SRC_ARENA_H_

#include <stdint.h>

namespace tiercast {

constexpr uint64_t kArenaAlignment = 64;

// Zeroed when made, so that a plan which reads what it never wrote reads 0. Pages are touched only when used.
struct Arena {
  uint8_t* bytes = nullptr;
  uint64_t size = 0;
  uint8_t* mapping = nullptr;  // what the system gave, with guards around `bytes`
  uint64_t mapping_size = 0;
};

// False when the system refuses. `size` may be 0.
bool arena_make(uint64_t size, Arena* arena);
void arena_free(Arena* arena);

// Under AddressSanitizer: makes every byte of the arena forbidden, then [begin, begin + bytes) allowed again. So a step that touches
// memory which is not its operand's is found although the memory is ours. Nothing in other builds.
void arena_hide(const Arena& arena);
void arena_show(const void* begin, uint64_t bytes);

}  // namespace tiercast
#endif
