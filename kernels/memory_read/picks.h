// The slots that the columns of a panel keep when only the top_k largest scores count. A column gathers the scores above the worst it must
// keep, and whenever it has twice as many as it keeps, the lower half goes: few scores of a long memory get so far, and a memory whose
// scores only rise costs no more than twice that.
#ifndef TIERCAST_MEMORY_READ_PICKS_H_
#define TIERCAST_MEMORY_READ_PICKS_H_

#include "memory_read/memory_read.h"

namespace {

// Column j's keys are at keys[2 * top_k * j], `count` of them; a score up to `worst` is among the top_k no more.
struct Picks {
  int64_t* keys;
  float* worst;
  int64_t top_k, count[COLUMNS];
  int32_t width;
};

// What a key becomes once all slots have been offered.
struct Pick {
  float weight;
  int32_t slot;
};
static_assert(sizeof(Pick) == sizeof(int64_t), "a pick takes the place of its key");

// Bits of a float as an integer that orders like it, and back.
inline int32_t flip(int32_t bits) { return bits ^ (bits >> 31 & 0x7fffffff); }

// Keys order like scores, and of equal scores the lower slot's is greater. A NaN is greatest, and both zeros are one.
inline int64_t key_of(float score, int64_t slot) {
  const float number = score + 0.0f;
  int32_t bits;
  memcpy(&bits, &number, sizeof bits);
  const int32_t order = score != score ? 0x7fffffff : flip(bits);
  return static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(order)) << 32 | static_cast<uint32_t>(~slot));
}

inline int32_t slot_of(int64_t key) { return static_cast<int32_t>(~key); }

inline float score_of(int64_t key) {
  const int32_t bits = flip(static_cast<int32_t>(key >> 32));
  float score;
  memcpy(&score, &bits, sizeof score);
  return score;
}

inline int64_t* keys_of(const Picks& p, int64_t column) { return p.keys + 2 * p.top_k * column; }

inline void swap_keys(int64_t* a, int64_t* b) {
  const int64_t key = *a;
  *a = *b;
  *b = key;
}

// Puts the `keep` greatest of `count` different keys first, the least of them last (Hoare's FIND; no branch depends on a comparison of
// two keys, since nobody could predict it).
TC_NOINLINE void select_greatest(int64_t* keys, int64_t count, int64_t keep) {
  int64_t low = 0, high = count - 1, place = -1;
  while (place != keep - 1) {
    swap_keys(keys + low + (high - low) / 2, keys + high);
    const int64_t pivot = keys[high];
    place = low;
    for (int64_t i = low; i < high; ++i) {
      const int64_t key = keys[i];
      keys[i] = keys[place];
      keys[place] = key;
      place += key > pivot;
    }
    swap_keys(keys + place, keys + high);
    if (place < keep) low = place + 1;
    if (place >= keep) high = place - 1;
  }
}

inline void keep_best(Picks* p, int64_t column) {
  int64_t* keys = keys_of(*p, column);
  select_greatest(keys, p->count[column], p->top_k);
  p->count[column] = p->top_k;
  p->worst[column] = score_of(keys[p->top_k - 1]);
}

// Nothing is kept yet. Scores of minus infinity never are: they would weigh nothing.
inline void clear(Picks* p) {
  for (int32_t j = 0; j < p->width; ++j) {
    p->count[j] = 0;
    p->worst[j] = -HUGE_VALF;
  }
}

// Gathers the scores of slot `slot` in columns [column, column + VL).
inline void gather_row(Picks* p, int64_t column, const float* row, int64_t slot) {
  for (int32_t lane = 0; lane < VL; ++lane) {
    if (row[lane] <= p->worst[column + lane]) continue;
    int64_t* count = p->count + column + lane;
    keys_of(*p, column + lane)[*count] = key_of(row[lane], slot);
    if (++*count == 2 * p->top_k) keep_best(p, column + lane);
  }
}

// Offers `count` slots from `slot` on. Scores of a part of `part` columns lie [count][part], those of the next `pitch` behind.
TC_NOINLINE void offer(Picks* p, const float* scores, int32_t part, int64_t pitch, int64_t slot, int64_t count) {
  for (int32_t j = 0; j < p->width; j += VL) {
    const float* from = scores + j / part * pitch + j % part;
    for (int64_t i = 0; i < count; ++i, from += part) {
      if (m_any(m_not(v_le(v_load(from), v_load(p->worst + j))))) gather_row(p, j, from, slot + i);
    }
  }
}

// Leaves top_k keys of each column: slot 0 with no score at all stands where fewer have come.
inline void finish_picks(Picks* p) {
  for (int64_t j = 0; j < p->width; ++j) {
    while (p->count[j] < p->top_k) keys_of(*p, j)[p->count[j]++] = key_of(-HUGE_VALF, 0);
    if (p->count[j] > p->top_k) keep_best(p, j);
  }
}

// Keys of one column become its slots with weights whose sum is 1.
inline void weigh_column(int64_t* keys, int64_t top_k) {
  int64_t greatest = keys[0];
  for (int64_t i = 1; i < top_k; ++i) greatest = larger(greatest, keys[i]);
  const V most = v_set1(score_of(greatest));
  float sum = 0.0f, lanes[VL] = {};
  for (int64_t i = 0; i < top_k; i += VL) {
    const int64_t n = smaller(VL, top_k - i);
    for (int64_t k = 0; k < n; ++k) lanes[k] = score_of(keys[i + k]);
    v_store(lanes, v_exp_below(v_sub(v_load(lanes), most)));
    for (int64_t k = 0; k < n; ++k) {
      const Pick pick = {lanes[k], slot_of(keys[i + k])};
      memcpy(keys + i + k, &pick, sizeof pick);
      sum += pick.weight;
    }
  }
  Pick* picks = reinterpret_cast<Pick*>(keys);
  for (int64_t i = 0; i < top_k; ++i) picks[i].weight /= sum;
}

TC_NOINLINE void weigh_picks(const Picks& p) {
  for (int64_t j = 0; j < p.width; ++j) weigh_column(keys_of(p, j), p.top_k);
}

// Column j's result to `to`, VECTORS vectors or the first `n` of one: its slots' values times their weights.
template <int VECTORS>
TC_INLINE void read_column(const Picks& p, int64_t j, const float* values, int64_t pitch, int64_t n, float* to) {
  const Pick* picks = reinterpret_cast<const Pick*>(keys_of(p, j));
  V sums[VECTORS];
  for (int i = 0; i < VECTORS; ++i) sums[i] = v_zero();
  for (int64_t k = 0; k < p.top_k; ++k) {
    const float* value = values + picks[k].slot * pitch;
    const V weight = v_set1(picks[k].weight);
    for (int i = 0; i < VECTORS; ++i) sums[i] = v_fma(weight, VECTORS == 1 ? v_load_n(value, n) : v_load(value + i * VL), sums[i]);
  }
  for (int i = 0; i < VECTORS; ++i) v_store(to + i * VL, sums[i]);
}

// `columns` columns of y, [rows][columns], from values [S][rows]. `tile` holds a block of them, each column's together: written to y one by
// one they would all meet in the same few lines of the cache.
TC_NOINLINE void read_picks(const Picks& p, const float* values, int64_t pitch, int64_t rows, int64_t columns, float* y, int64_t y_pitch,
                            float* tile) {
  enum { BLOCK = 8 * VL };
  static_assert(BLOCK <= SLOTS, "a tile takes the place of a block of scores");
  for (int64_t e = 0; e < rows; e += BLOCK) {
    const int64_t n = smaller(BLOCK, rows - e);
    for (int64_t j = 0; j < columns; ++j) {
      float* to = tile + j * BLOCK;
      if (n == BLOCK) read_column<8>(p, j, values + e, pitch, n, to);
      for (int64_t i = 0; n < BLOCK && i < n; i += VL) read_column<1>(p, j, values + e + i, pitch, n - i, to + i);
    }
    for (int64_t i = 0; i < n; ++i, y += y_pitch) {
      for (int64_t j = 0; j < columns; ++j) y[j] = tile[j * BLOCK + i];
    }
  }
}

}  // namespace

#endif
