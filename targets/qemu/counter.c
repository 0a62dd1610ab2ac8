// A plugin of qemu-aarch64 (TCG plugin API 1) that counts the A64 instructions a program executes, by class, and its multiply-accumulates.
//
//   qemu-aarch64 -plugin libcounter.so,out=counts.txt,marks=on -d plugin PROGRAM
//
// With marks=on only marked regions count: the program makes system call 0x1EAF with region number n > 0 to begin region n (ending the one
// before), and with 0 to end it; a kernel without the plugin answers ENOSYS. Without, everything is region 1.
// Output, one record per line: `region N macs M CLASS COUNT ...`, then the hottest translation blocks over all regions,
// `block RUNS MACS FILE OFFSET WORD ...` with the offset into FILE and the instruction words in hex.
// Counts are exact for one guest thread. QEMU's plugin interface is declared here: Debian packages no header for it.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };
typedef void (*tb_callback)(qemu_plugin_id_t, struct qemu_plugin_tb*);
typedef void (*exit_callback)(qemu_plugin_id_t, void*);
typedef void (*syscall_callback)(qemu_plugin_id_t, unsigned cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                 uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_callback);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, syscall_callback);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, exit_callback, void*);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb*, int op, void* counter, uint64_t step);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t);
const void* qemu_plugin_insn_data(const struct qemu_plugin_insn*);
void* qemu_plugin_insn_haddr(const struct qemu_plugin_insn*);
EXPORTED int qemu_plugin_version = 1;

enum { MARK = 0x1EAF, MAX_REGIONS = 8192, HOT_BLOCKS = 400 };
#define CLASSES(X)                                                                                                                         \
  X(fma_f32)                                                                                                                               \
  X(fma_f16) X(fma_f16f32) X(fma_f64) X(fma_scalar) X(dot_i8) X(mmla_i8) X(bf16) X(mla_int) X(simd) X(vector_load) X(vector_store) X(load) \
      X(store) X(branch) X(integer) X(system) X(sve)
#define ENUMERATOR(name) C_##name,
#define TEXT(name) #name,
enum class { CLASSES(ENUMERATOR) CLASS_COUNT };
static const char* const kClassNames[CLASS_COUNT] = {CLASSES(TEXT)};

struct kind {
  enum class class;
  unsigned macs;
};

// -- decoding: A64 encodings as in the Arm ARM, section C4.1
static struct kind load_or_store(uint32_t word) {
  const bool vector = (word >> 26) & 1;
  const unsigned group = (word >> 27) & 7, opc = (word >> 22) & 3;
  if (!vector && (word & 0xFFC00000) == 0xF9800000) return (struct kind){C_integer, 0};  // PRFM
  bool load = opc & 1;                                                                   // exclusive, SIMD structures, pairs
  if (group == 7) load = vector ? opc & 1 : opc != 0;                                    // one register
  if (group == 3) load = ((word >> 24) & 1) ? opc != 0 : true;                           // literal
  if (vector) return (struct kind){load ? C_vector_load : C_vector_store, 0};
  return (struct kind){load ? C_load : C_store, 0};
}

static struct kind vector_three_same(uint32_t word) {
  const unsigned q = (word >> 30) & 1, u = (word >> 29) & 1, op = (word >> 11) & 31, size = (word >> 22) & 3;
  if (op == 0x19 && !u) return size & 1 ? (struct kind){C_fma_f64, 2} : (struct kind){C_fma_f32, q ? 4 : 2};
  if ((op == 0x1D && !u && size != 1) || (op == 0x19 && u)) return (struct kind){C_fma_f16f32, q ? 4 : 2};  // FMLAL, FMLAL2
  if (op == 0x12) return (struct kind){C_mla_int, (q ? 16u : 8u) >> size};
  return (struct kind){C_simd, 0};
}

static struct kind vector_extension(uint32_t word) {
  const unsigned q = (word >> 30) & 1, op = (word >> 11) & 15, size = (word >> 22) & 3;
  if (size == 2 && (op == 2 || op == 3)) return (struct kind){C_dot_i8, q ? 16 : 8};
  if (size == 2 && (op == 4 || op == 5)) return (struct kind){C_mmla_i8, 32};
  if (size == 1 && (op == 13 || op == 15)) return (struct kind){C_bf16, op == 13 ? 16 : q ? 8 : 4};
  return (struct kind){C_simd, 0};
}

static struct kind vector_by_element(uint32_t word) {
  const unsigned q = (word >> 30) & 1, u = (word >> 29) & 1, op = (word >> 12) & 15, size = (word >> 22) & 3;
  if ((op == 1 || op == 5) && !u) {
    if (size == 0) return (struct kind){C_fma_f16, q ? 8 : 4};
    return size == 2 ? (struct kind){C_fma_f32, q ? 4 : 2} : (struct kind){C_fma_f64, 2};
  }
  if (size == 2 && ((op == 0 && !u) || (op == 8 && u))) return (struct kind){C_fma_f16f32, q ? 4 : 2};
  if ((op == 14 && size == 2) || (op == 15 && (size == 0 || size == 2))) return (struct kind){C_dot_i8, q ? 16 : 8};
  if (op == 15 && size == 1) return (struct kind){C_bf16, q ? 8 : 4};
  if ((op == 0 || op == 4) && u) return (struct kind){C_mla_int, (q ? 16u : 8u) >> size};
  if (op == 2 || op == 6) return (struct kind){C_mla_int, size == 1 ? 4 : 2};
  return (struct kind){C_simd, 0};
}

static struct kind simd(uint32_t word) {
  if ((word & 0xFF000000) == 0x1F000000) return (struct kind){C_fma_scalar, 1};
  if ((word & 0x9F60C400) == 0x0E400400) {  // three same, f16
    const bool fmla = ((word >> 11) & 7) == 1 && ((word >> 29) & 1) == 0;
    return fmla ? (struct kind){C_fma_f16, ((word >> 30) & 1) ? 8 : 4} : (struct kind){C_simd, 0};
  }
  if ((word & 0x9F200400) == 0x0E200400) return vector_three_same(word);
  if ((word & 0x9F208400) == 0x0E008400) return vector_extension(word);
  if ((word & 0x9F000400) == 0x0F000000) return vector_by_element(word);
  if ((word & 0x9F200C00) == 0x0E200000) {  // three different
    const unsigned op = (word >> 12) & 15;
    if (op >= 8 && op <= 11) return (struct kind){C_mla_int, 8u >> ((word >> 22) & 3)};
  }
  return (struct kind){C_simd, 0};
}

static struct kind kind_of(uint32_t word) {
  const unsigned op0 = (word >> 25) & 15;
  if (op0 == 2) return (struct kind){C_sve, 0};
  if ((op0 & 14) == 8 || (op0 & 7) == 5) return (struct kind){C_integer, 0};
  if ((op0 & 14) == 10) return (struct kind){(word & 0xFF000000) == 0xD5000000 ? C_system : C_branch, 0};
  if ((op0 & 5) == 4) return load_or_store(word);
  return (op0 & 7) == 7 ? simd(word) : (struct kind){C_system, 0};
}

// -- counting: qemu counts how often each block runs; what one run is made of is known from its translation
struct block {
  struct block* next;
  uint64_t runs;     // since the program began; qemu's code adds to it
  uint64_t seen;     // of them, already accounted for
  uint64_t counted;  // of them, inside a region
  const char* place;
  uint32_t macs;
  uint16_t classes[CLASS_COUNT];
  uint32_t length;
  uint32_t words[];
};
struct region {
  uint64_t macs, classes[CLASS_COUNT];
};
static struct block* blocks;
static struct region regions[MAX_REGIONS];
static uint64_t current;  // 0: none
static const char* out_path;

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
  (void)id;
  const size_t length = qemu_plugin_tb_n_insns(tb);
  struct block* block = calloc(1, sizeof(struct block) + length * sizeof(uint32_t));
  if (block == NULL) abort();
  block->length = (uint32_t)length;
  block->place = qemu_plugin_insn_haddr(qemu_plugin_tb_get_insn(tb, 0));
  for (size_t i = 0; i < length; ++i) {
    memcpy(&block->words[i], qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), 4);
    const struct kind kind = kind_of(block->words[i]);
    block->classes[kind.class]++;
    block->macs += kind.macs;
  }
  block->next = blocks;
  blocks = block;
  qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &block->runs, 1);
}

static void enter(uint64_t next) {
  struct region* region = current > 0 ? &regions[current] : NULL;
  for (struct block* block = blocks; block != NULL; block = block->next) {
    const uint64_t runs = block->runs - block->seen;
    block->seen = block->runs;
    if (region == NULL || runs == 0) continue;
    block->counted += runs;
    region->macs += runs * block->macs;
    for (int i = 0; i < CLASS_COUNT; ++i) region->classes[i] += runs * block->classes[i];
  }
  current = next < MAX_REGIONS ? next : MAX_REGIONS - 1;
}

static void system_called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t region, uint64_t a1, uint64_t a2, uint64_t a3,
                          uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7) {
  (void)id, (void)cpu, (void)a1, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7;
  if (number == MARK) enter(region);
}

// -- output
static int by_work(const void* left, const void* right) {
  const struct block *a = *(struct block* const*)left, *b = *(struct block* const*)right;
  const uint64_t x = a->counted * a->length, y = b->counted * b->length;
  return x < y ? 1 : x > y ? -1 : 0;
}

static void print_place(FILE* out, FILE* maps, const char* place) {
  char line[1024];
  rewind(maps);
  while (fgets(line, sizeof(line), maps) != NULL) {
    unsigned long low = 0, high = 0, offset = 0;
    char file[512] = "";
    if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %511s", &low, &high, &offset, file) == 4 && (unsigned long)place >= low &&
        (unsigned long)place < high) {
      fprintf(out, "%s %lx", file, (unsigned long)place - low + offset);
      return;
    }
  }
  fprintf(out, "? 0");
}

static void print_blocks(FILE* out) {
  size_t count = 0;
  for (struct block* block = blocks; block != NULL; block = block->next) count += block->counted > 0;
  struct block** sorted = malloc((count + 1) * sizeof(struct block*));
  FILE* maps = fopen("/proc/self/maps", "r");
  if (sorted == NULL || maps == NULL) abort();
  size_t filled = 0;
  for (struct block* block = blocks; block != NULL; block = block->next) {
    if (block->counted > 0) sorted[filled++] = block;
  }
  qsort(sorted, count, sizeof(struct block*), by_work);
  for (size_t i = 0; i < count && i < HOT_BLOCKS; ++i) {
    fprintf(out, "block %llu %u ", (unsigned long long)sorted[i]->counted, sorted[i]->macs);
    print_place(out, maps, sorted[i]->place);
    for (uint32_t j = 0; j < sorted[i]->length; ++j) fprintf(out, " %08x", sorted[i]->words[j]);
    fputc('\n', out);
  }
  fclose(maps);
  free(sorted);
}

static void finished(qemu_plugin_id_t id, void* user) {
  (void)id, (void)user;
  enter(0);
  FILE* out = fopen(out_path, "w");
  if (out == NULL) abort();
  for (int r = 0; r < MAX_REGIONS; ++r) {
    uint64_t any = 0;
    for (int i = 0; i < CLASS_COUNT; ++i) any += regions[r].classes[i];
    if (any == 0) continue;
    fprintf(out, "region %d macs %llu", r, (unsigned long long)regions[r].macs);
    for (int i = 0; i < CLASS_COUNT; ++i) fprintf(out, " %s %llu", kClassNames[i], (unsigned long long)regions[r].classes[i]);
    fputc('\n', out);
  }
  print_blocks(out);
  fclose(out);
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const void* info, int argc, char** argv) {
  (void)info;
  current = 1;
  for (int i = 0; i < argc; ++i) {
    if (strncmp(argv[i], "out=", 4) == 0) out_path = strdup(argv[i] + 4);
    if (strcmp(argv[i], "marks=on") == 0) current = 0;
  }
  if (out_path == NULL) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, system_called);
  qemu_plugin_register_atexit_cb(id, finished, NULL);
  return 0;
}
