// A package file, mapped and verified. Nothing in it may be looked at before `package_open*` has returned TC_OK.
#ifndef TIERCAST_SRC_PACKAGE_H_
#define TIERCAST_SRC_PACKAGE_H_

#include "package_generated.h"
#include "tiercast/tiercast.h"

namespace tiercast {

struct Package {
  const uint8_t* bytes = nullptr;
  uint64_t size = 0;
  bool mapped = false;               // `bytes` is ours to unmap
  char label[256] = {};              // how errors name it: `package path`
  const fb::Model* model = nullptr;  // one plan or more
  const uint8_t* weights = nullptr;
  uint64_t weights_bytes = 0;
};

// Maps and verifies the file. On failure *package is closed again.
tc_status package_open(const char* path, Package* package, tc_error* error);

// Verifies 64-byte aligned memory that outlives *package.
tc_status package_open_memory(const void* data, uint64_t bytes, Package* package, tc_error* error);

void package_close(Package* package);

// How errors name a plan behind the package's label: " bucket 2", or nothing when it is the only one.
struct BucketText {
  char chars[24];
};
BucketText bucket_text(const Package& package, uint32_t bucket);

// The text of a FlatBuffers string, "" for none. Verified strings end with NUL.
inline const char* text(const flatbuffers::String* string) { return string == nullptr ? "" : string->c_str(); }

// The length of a FlatBuffers vector, 0 for none.
template <typename T>
uint32_t length(const flatbuffers::Vector<T>* vector) {
  return vector == nullptr ? 0 : vector->size();
}

inline uint32_t plan_count(const Package& package) { return length(package.model->plans()); }
inline const fb::Plan& plan_at(const Package& package, uint32_t bucket) { return *package.model->plans()->Get(bucket); }

}  // namespace tiercast
#endif
