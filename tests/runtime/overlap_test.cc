// The overlap rules against brute force, and the cases that plans consist of.
#include "overlap.h"

#include <stdint.h>

#include <algorithm>
#include <random>
#include <vector>

#include "check.h"

using tiercast::ByteView;
using tiercast::disjoint;
using tiercast::injective;

namespace {

// How often each byte of [0, size) belongs to the view.
std::vector<int> touched(const ByteView& view, size_t size) {
  std::vector<int> counts(size);
  uint64_t index[TC_MAX_RANK] = {};
  for (;;) {
    uint64_t at = view.begin;
    for (int32_t i = 0; i < view.rank; ++i) at += index[i] * view.strides[i];
    for (uint64_t i = 0; i < view.element_bytes; ++i) ++counts.at(at + i);
    int32_t dim = view.rank - 1;
    while (dim >= 0 && ++index[dim] == view.dims[dim]) index[dim--] = 0;
    if (dim < 0) return counts;
  }
}

ByteView make(uint64_t begin, std::vector<uint64_t> dims, std::vector<uint64_t> element_strides, uint64_t element_bytes = 4) {
  ByteView view = {begin, element_bytes, static_cast<int32_t>(dims.size()), {}, {}};
  for (size_t i = 0; i < dims.size(); ++i) {
    view.dims[i] = dims[i];
    view.strides[i] = element_strides[i] * element_bytes;
  }
  return view;
}

ByteView random_view(std::mt19937* random) {
  const auto pick = [random](uint64_t low, uint64_t high) { return std::uniform_int_distribution<uint64_t>(low, high)(*random); };
  ByteView view = {pick(0, 40), uint64_t{1} << pick(0, 2), static_cast<int32_t>(pick(0, 3)), {}, {}};
  view.begin -= view.begin % view.element_bytes;
  for (int32_t i = 0; i < view.rank; ++i) {
    view.dims[i] = pick(1, 4);
    view.strides[i] = pick(0, 12) * view.element_bytes;
  }
  return view;
}

void test_against_brute_force() {
  std::mt19937 random(1);
  int proved = 0, truly_disjoint = 0;
  for (int i = 0; i < 200000; ++i) {
    const ByteView a = random_view(&random), b = random_view(&random);
    const size_t size = 512;
    const std::vector<int> in_a = touched(a, size), in_b = touched(b, size);
    bool share = false, twice = false;
    for (size_t byte = 0; byte < size; ++byte) {
      share = share || (in_a[byte] != 0 && in_b[byte] != 0);
      twice = twice || in_a[byte] > 1;
    }
    CHECK(!(disjoint(a, b) && share));
    CHECK(disjoint(a, b) == disjoint(b, a));
    CHECK(!(injective(a) && twice));
    truly_disjoint += share ? 0 : 1;
    proved += disjoint(a, b) ? 1 : 0;
    if (failures() > 10) return;
  }
  printf("%d of %d random disjoint pairs proved\n", proved, truly_disjoint);
  CHECK(proved > truly_disjoint / 2);  // it may give up on views that no plan has
}

void test_plans() {
  // Concat of 3 and 5 channels in place, NHWC 1x4x6x8.
  const ByteView first = make(0, {1, 4, 6, 3}, {192, 48, 8, 1}), second = make(12, {1, 4, 6, 5}, {192, 48, 8, 1});
  CHECK(disjoint(first, second));
  CHECK(injective(first) && injective(second));
  CHECK(!disjoint(first, make(8, {1, 4, 6, 5}, {192, 48, 8, 1})));   // begins one channel early
  CHECK(!disjoint(first, make(12, {1, 4, 6, 6}, {192, 48, 8, 1})));  // ends one channel late: its last channel is the next pixel's first
  CHECK(disjoint(first, make(12, {24, 5}, {8, 1})));                 // the same pixels by another rank
  CHECK(disjoint(make(0, {4, 3, 8}, {48, 8, 1}), make(96, {4, 3, 8}, {48, 8, 1})));  // left and right half of each row
  CHECK(!disjoint(make(0, {4, 3, 8}, {48, 8, 1}), make(64, {4, 3, 8}, {48, 8, 1})));
  CHECK(tiercast::same_view(first, first) && !disjoint(first, first));
  CHECK(tiercast::same_view(first, make(0, {1, 4, 6, 3}, {7, 48, 8, 1})));  // the stride of a single row means nothing
  CHECK(!tiercast::same_view(first, second));
  CHECK(!injective(make(0, {2, 2}, {0, 1})));
  CHECK(injective(make(0, {2, 6, 3}, {3, 6, 1})));
  CHECK(!injective(make(0, {3, 2}, {1, 2})));
}

}  // namespace

int main() {
  test_plans();
  test_against_brute_force();
  return test_result();
}
