#include "package.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#define XXH_NO_STREAM
#include "checked.h"
#include "error.h"
#include "verify.h"
#include "xxhash.h"

namespace tiercast {
namespace {

constexpr uint64_t kHeaderBytes = 64, kChecksummedHeaderBytes = 56, kWeightsAlignment = 16384;
constexpr uint64_t kMaxPlanBytes = uint64_t{1} << 30;
constexpr uint32_t kFormatVersion = 2;
constexpr char kMagic[] = "TIERCAST";

// The fixed part of the file; see package.fbs.
struct Header {
  char magic[8];
  uint32_t version, reserved;
  uint64_t plan_offset, plan_bytes, weights_offset, weights_bytes, body_checksum, header_checksum;
};
static_assert(sizeof(Header) == kHeaderBytes, "the header is packed");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packages are little-endian and read in place");

unsigned long long ull(uint64_t value) { return value; }

// Whether bytes [begin, end) are all 0.
bool all_zero(const uint8_t* bytes, uint64_t begin, uint64_t end) {
  for (uint64_t i = begin; i < end; ++i)
    if (bytes[i] != 0) return false;
  return true;
}

// The header is whole and unchanged, and its segments tile the file.
tc_status verify_header(const Package& package, const Header& header, tc_error* error) {
  const char* label = package.label;
  if (memcmp(header.magic, kMagic, sizeof(header.magic)) != 0)
    return fail(error, TC_ERROR_PACKAGE, "%s: not a Tiercast package: it does not begin with \"%s\"", label, kMagic);
  if (header.version != kFormatVersion)
    return fail(error, TC_ERROR_PACKAGE, "%s: format version %u; this runtime reads version %u: compile the model again", label,
                header.version, kFormatVersion);
  const uint64_t sum = XXH3_64bits(package.bytes, kChecksummedHeaderBytes);
  if (sum != header.header_checksum)
    return fail(error, TC_ERROR_PACKAGE, "%s header: checksum %016llx, stored %016llx: the file is damaged", label, ull(sum),
                ull(header.header_checksum));
  if (header.reserved != 0) return fail(error, TC_ERROR_PACKAGE, "%s header: reserved field is %u, must be 0", label, header.reserved);
  if (header.plan_offset != kHeaderBytes)
    return fail(error, TC_ERROR_PACKAGE, "%s header: plan at byte %llu, must be %llu", label, ull(header.plan_offset), ull(kHeaderBytes));
  if (header.plan_bytes > package.size - kHeaderBytes || header.plan_bytes > kMaxPlanBytes)
    return fail(error, TC_ERROR_PACKAGE, "%s header: plan of %llu bytes in a file of %llu (limit %llu)", label, ull(header.plan_bytes),
                ull(package.size), ull(kMaxPlanBytes));
  const uint64_t plan_end = kHeaderBytes + header.plan_bytes;
  uint64_t weights_end = 0;
  if (!checked_add(header.weights_offset, header.weights_bytes, &weights_end) || header.weights_offset < plan_end ||
      weights_end != package.size)
    return fail(error, TC_ERROR_PACKAGE, "%s header: weights [%llu, +%llu) must begin after the plan (%llu) and end with the file (%llu)",
                label, ull(header.weights_offset), ull(header.weights_bytes), ull(plan_end), ull(package.size));
  if (header.weights_bytes != 0 && header.weights_offset % kWeightsAlignment != 0)
    return fail(error, TC_ERROR_PACKAGE, "%s header: weights at byte %llu, must be a multiple of %llu", label, ull(header.weights_offset),
                ull(kWeightsAlignment));
  return TC_OK;
}

// Everything between the header and a usable plan.
tc_status verify_body(Package* package, const Header& header, tc_error* error) {
  const uint64_t sum = XXH3_64bits(package->bytes + kHeaderBytes, static_cast<size_t>(package->size - kHeaderBytes));
  if (sum != header.body_checksum)
    return fail(error, TC_ERROR_PACKAGE, "%s: checksum of the contents %016llx, stored %016llx: the file is damaged", package->label,
                ull(sum), ull(header.body_checksum));
  if (!all_zero(package->bytes, kHeaderBytes + header.plan_bytes, header.weights_offset))
    return fail(error, TC_ERROR_PACKAGE, "%s: bytes between plan and weights are not 0", package->label);
  const uint8_t* plan = package->bytes + kHeaderBytes;
  flatbuffers::Verifier verifier(plan, static_cast<size_t>(header.plan_bytes), kPlanMaxDepth, kPlanMaxTables);
  if (header.plan_bytes < 16 || !verifier.VerifyBuffer<fb::Model>(fb::ModelIdentifier()))
    return fail(error, TC_ERROR_PACKAGE, "%s: the plan (%llu bytes) is not a valid FlatBuffer with identifier %s", package->label,
                ull(header.plan_bytes), fb::ModelIdentifier());
  package->model = fb::GetModel(plan);
  package->weights = package->bytes + header.weights_offset;
  package->weights_bytes = header.weights_bytes;
  return verify_model(*package, error);
}

tc_status verify_package(Package* package, tc_error* error) {
  if (package->size < kHeaderBytes)
    return fail(error, TC_ERROR_PACKAGE, "%s: %llu bytes; a package has at least %llu: the file is %s", package->label, ull(package->size),
                ull(kHeaderBytes), package->size == 0 ? "empty" : "truncated");
  Header header;
  memcpy(&header, package->bytes, sizeof(header));
  const tc_status status = verify_header(*package, header, error);
  return status == TC_OK ? verify_body(package, header, error) : status;
}

// `package <path>`, or its end when it is very long.
void set_label(const char* path, char* label, size_t label_bytes) {
  const size_t length = strlen(path), room = label_bytes - sizeof("package ...");
  if (length <= room)
    snprintf(label, label_bytes, "package %s", path);
  else
    snprintf(label, label_bytes, "package ...%s", path + (length - room));
}

// Maps the open file `descriptor` of *package, whatever it is.
tc_status map_file(int descriptor, Package* package, tc_error* error) {
  struct stat status;
  if (fstat(descriptor, &status) != 0) return fail(error, TC_ERROR_IO, "%s: cannot be examined: %s", package->label, strerror(errno));
  if (!S_ISREG(status.st_mode))
    return fail(error, TC_ERROR_IO, "%s: not a file%s", package->label, S_ISDIR(status.st_mode) ? " but a directory" : "");
  package->size = static_cast<uint64_t>(status.st_size);
  if (package->size == 0) return TC_OK;  // cannot be mapped; verification refuses it
  if (package->size > SIZE_MAX / 2)
    return fail(error, TC_ERROR_IO, "%s: %llu bytes do not fit this process's address space", package->label, ull(package->size));
  void* bytes = mmap(nullptr, static_cast<size_t>(package->size), PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (bytes == MAP_FAILED)
    return fail(error, TC_ERROR_IO, "%s: mapping %llu bytes: %s", package->label, ull(package->size), strerror(errno));
  package->bytes = static_cast<const uint8_t*>(bytes);
  package->mapped = true;
  return TC_OK;
}

}  // namespace

BucketText bucket_text(const Package& package, uint32_t bucket) {
  BucketText text = {};
  if (plan_count(package) > 1) snprintf(text.chars, sizeof(text.chars), " bucket %u", bucket);
  return text;
}

tc_status package_open(const char* path, Package* package, tc_error* error) {
  set_label(path, package->label, sizeof(package->label));
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // O_NONBLOCK: a FIFO must not hang us
  if (descriptor < 0) return fail(error, TC_ERROR_IO, "%s: cannot be opened: %s", package->label, strerror(errno));
  tc_status status = map_file(descriptor, package, error);
  close(descriptor);
  if (status == TC_OK) status = verify_package(package, error);
  if (status != TC_OK) package_close(package);
  return status;
}

tc_status package_open_memory(const void* data, uint64_t bytes, Package* package, tc_error* error) {
  set_label("in memory", package->label, sizeof(package->label));
  if (data == nullptr || reinterpret_cast<uintptr_t>(data) % 64 != 0)
    return fail(error, TC_ERROR_ARGUMENT, "%s: data is %s", package->label, data == nullptr ? "NULL" : "not 64-byte aligned");
  if (bytes > SIZE_MAX / 2) return fail(error, TC_ERROR_ARGUMENT, "%s: %llu bytes exceed the address space", package->label, ull(bytes));
  package->bytes = static_cast<const uint8_t*>(data);
  package->size = bytes;
  return verify_package(package, error);
}

void package_close(Package* package) {
  if (package->mapped) munmap(const_cast<uint8_t*>(package->bytes), static_cast<size_t>(package->size));
  package->bytes = nullptr;
  package->mapped = false;
  package->model = nullptr;
}

}  // namespace tiercast
