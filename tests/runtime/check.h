// The smallest test harness: CHECK counts and prints what fails, TEST_RESULT() is main's exit code.
#ifndef TIERCAST_TESTS_CHECK_H_
#define TIERCAST_TESTS_CHECK_H_

#include <stdio.h>
#include <string.h>

inline int& failures() {
  static int count = 0;
  return count;
}

#define CHECK(condition)                                                            \
  do {                                                                              \
    if (!(condition)) {                                                             \
      ++failures();                                                                 \
      fprintf(stderr, "%s:%d: CHECK(%s) failed\n", __FILE__, __LINE__, #condition); \
    }                                                                               \
  } while (0)

// `text` contains `part`.
#define CHECK_CONTAINS(text, part)                                                                                  \
  do {                                                                                                              \
    if (strstr((text), (part)) == nullptr) {                                                                        \
      ++failures();                                                                                                 \
      fprintf(stderr, "%s:%d: expected \"%s\" in: %s\n", __FILE__, __LINE__, static_cast<const char*>(part), text); \
    }                                                                                                               \
  } while (0)

inline int test_result() {
  if (failures() != 0) fprintf(stderr, "%d checks failed\n", failures());
  return failures() == 0 ? 0 : 1;
}

#endif
