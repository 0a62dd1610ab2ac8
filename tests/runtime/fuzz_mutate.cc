#include "fuzz_mutate.h"

#include <string.h>

#include <algorithm>

#include "package_file.h"

namespace tiercast_test {
namespace {

// Numbers at which arithmetic and loops go wrong.
int64_t interesting(Random* random) {
  static const int64_t kNumbers[] = {0,
                                     1,
                                     -1,
                                     2,
                                     3,
                                     4,
                                     7,
                                     8,
                                     15,
                                     16,
                                     17,
                                     31,
                                     32,
                                     33,
                                     63,
                                     64,
                                     65,
                                     127,
                                     128,
                                     255,
                                     256,
                                     1000,
                                     4096,
                                     65535,
                                     65536,
                                     INT32_MAX,
                                     INT32_MIN,
                                     INT64_MAX,
                                     INT64_MIN,
                                     int64_t{1} << 31,
                                     int64_t{1} << 32,
                                     int64_t{1} << 40,
                                     int64_t{1} << 62};
  return kNumbers[below(random, sizeof(kNumbers) / sizeof(kNumbers[0]))];
}

// Near the old value, or somewhere interesting.
int64_t changed(Random* random, int64_t old) {
  switch (below(random, 6)) {
    case 0:
      return static_cast<int64_t>(static_cast<uint64_t>(old) + 1);
    case 1:
      return static_cast<int64_t>(static_cast<uint64_t>(old) - 1);
    case 2:
      return static_cast<int64_t>(static_cast<uint64_t>(old) * 2);
    case 3:
      return old / 2;
    case 4:
      return static_cast<int64_t>(below(random, 64));
    default:
      return interesting(random);
  }
}

template <typename T>
void change_one(Random* random, std::vector<T>* numbers) {
  if (numbers->empty() || below(random, 12) == 0) {
    if (below(random, 2) == 0 || numbers->empty())
      numbers->push_back(static_cast<T>(interesting(random)));
    else
      numbers->pop_back();
    return;
  }
  T& number = (*numbers)[below(random, numbers->size())];
  number = static_cast<T>(changed(random, static_cast<int64_t>(number)));
}

std::vector<int64_t> dense_strides(const std::vector<int64_t>& dims) {
  std::vector<int64_t> strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;)
    strides[i - 1] = static_cast<int64_t>(static_cast<uint64_t>(strides[i]) * static_cast<uint64_t>(dims[i]));
  return strides;
}

void mutate_tensor(Random* random, fb::TensorT* tensor) {
  switch (below(random, 10)) {
    case 0:
    case 1:
    case 2:
      change_one(random, &tensor->dims);
      break;
    case 3:
    case 4:
      change_one(random, &tensor->strides);
      break;
    case 5:
      tensor->offset = static_cast<uint64_t>(changed(random, static_cast<int64_t>(tensor->offset)));
      break;
    case 6:
      tensor->place = static_cast<fb::Place>(below(random, 6));
      break;
    case 7:
      tensor->dtype = static_cast<fb::DType>(below(random, 8));
      break;
    case 8:
      tensor->index = static_cast<uint32_t>(below(random, 4));
      break;
    default:
      change_one(random, &tensor->perm);
      break;
  }
  // Dims that fit get strides that fit, now and then, so that verification accepts and the kernels see them.
  if (below(random, 3) == 0) tensor->strides = dense_strides(tensor->dims);
}

// One 4-byte field, or one byte, or the length.
void mutate_params(Random* random, std::vector<uint8_t>* params) {
  if (params->size() >= 4 && below(random, 8) != 0) {
    uint8_t* field = params->data() + below(random, params->size() / 4) * 4;
    int32_t value;
    memcpy(&value, field, 4);
    value = static_cast<int32_t>(changed(random, value));
    memcpy(field, &value, 4);
  } else {
    change_one(random, params);
  }
}

void mutate_step(Random* random, fb::PlanT* plan, fb::StepT* step, const tc_library& library) {
  const auto tensor = static_cast<int32_t>(below(random, plan->tensors.size() + 1)) - 1;
  switch (below(random, 10)) {
    case 0:
    case 1:
    case 2:
    case 3:
      mutate_params(random, &step->params);
      break;
    case 4:
      if (!step->inputs.empty()) step->inputs[below(random, step->inputs.size())] = tensor;
      break;
    case 5:
      if (!step->outputs.empty()) step->outputs[below(random, step->outputs.size())] = tensor;
      break;
    case 6:
      change_one(random, below(random, 2) == 0 ? &step->inputs : &step->outputs);
      break;
    case 7:
      step->scratch_bytes = static_cast<uint64_t>(changed(random, static_cast<int64_t>(step->scratch_bytes)));
      break;
    case 8: {
      const tc_kernel& row = *library.kernels[below(random, static_cast<uint64_t>(library.count))];
      step->op = row.op;
      step->kernel = row.name;
      break;
    }
    default: {
      // Another row of the same op, which must cope with the same params.
      for (int tries = 0; tries < 40; ++tries) {
        const tc_kernel& row = *library.kernels[below(random, static_cast<uint64_t>(library.count))];
        if (step->op == row.op) step->kernel = row.name;
      }
      break;
    }
  }
}

// A dim of some tensor becomes smaller wherever the same number stands, strides staying dense: often a model that is accepted, with
// shapes that the compiler would not have packed its weights and sized its scratch for.
void shrink_dim(Random* random, fb::PlanT* plan) {
  const std::vector<int64_t> dims = plan->tensors[below(random, plan->tensors.size())]->dims;
  const int64_t old = dims.empty() ? 1 : dims[below(random, dims.size())];
  if (old < 2) return;
  const auto now = static_cast<int64_t>(1 + below(random, static_cast<uint64_t>(old) - 1));
  const bool spares_weights = below(random, 2) == 0;
  for (const auto& tensor : plan->tensors) {
    if (spares_weights && tensor->place == fb::Place::weights) continue;
    const bool dense = tensor->strides == dense_strides(tensor->dims);
    std::replace(tensor->dims.begin(), tensor->dims.end(), old, now);
    if (dense) tensor->strides = dense_strides(tensor->dims);
  }
  for (auto* ports : {&plan->inputs, &plan->outputs})
    for (const auto& port : *ports) std::replace(port->dims.begin(), port->dims.end(), old, now);
}

// Of the run mostly, where there is nothing to prepare always.
fb::StepT* some_step(Random* random, const fb::PlanT& plan) {
  const auto& list = plan.prepare.empty() || below(random, 3) != 0 ? plan.steps : plan.prepare;
  return list[below(random, list.size())].get();
}

void mutate_model(Random* random, fb::PlanT* plan, std::vector<uint8_t>* weights) {
  switch (below(random, 9)) {
    case 0:
      plan->arena_bytes = static_cast<uint64_t>(changed(random, static_cast<int64_t>(plan->arena_bytes)));
      break;
    case 7:
      plan->prepared_bytes = static_cast<uint64_t>(changed(random, static_cast<int64_t>(plan->prepared_bytes)));
      break;
    case 8:
      plan->steps.swap(plan->prepare);
      break;
    case 1:
      if (!plan->inputs.empty()) change_one(random, &plan->inputs[below(random, plan->inputs.size())]->dims);
      break;
    case 2:
      if (!plan->outputs.empty()) change_one(random, &plan->outputs[below(random, plan->outputs.size())]->dims);
      break;
    case 3:
      if (!plan->steps.empty()) plan->steps.erase(plan->steps.begin() + static_cast<std::ptrdiff_t>(below(random, plan->steps.size())));
      break;
    case 4:
      if (plan->steps.size() > 1) std::swap(plan->steps[below(random, plan->steps.size())], plan->steps[below(random, plan->steps.size())]);
      break;
    case 5:
      for (uint64_t i = below(random, 64); i-- > 0 && !weights->empty();)
        (*weights)[below(random, weights->size())] ^= static_cast<uint8_t>(1 + below(random, 255));
      break;
    default:
      weights->resize(below(random, weights->size() + 1));
      break;
  }
}

// A plan goes, comes twice, comes with other input dims, or calls a port otherwise.
void mutate_buckets(Random* random, fb::ModelT* model) {
  const size_t at = below(random, model->plans.size());
  switch (below(random, 4)) {
    case 0:
      model->plans.erase(model->plans.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:
      model->plans.push_back(std::make_unique<fb::PlanT>(*model->plans[at]));
      break;
    case 2:
      model->plans.push_back(std::make_unique<fb::PlanT>(*model->plans[at]));
      shrink_dim(random, model->plans.back().get());
      break;
    default:
      if (!model->plans[at]->inputs.empty()) model->plans[at]->inputs[0]->name += "x";
      break;
  }
}

}  // namespace

void mutate_bytes(Random* random, std::vector<uint8_t>* file) {
  // Most damage goes to header and plan: weights are only numbers.
  const size_t front = file->size() < 16384 ? file->size() : 16384;
  for (uint64_t count = 1 + below(random, 6); count-- > 0 && !file->empty();) {
    const size_t at = below(random, below(random, 10) == 0 ? file->size() : std::min(front, file->size()));
    switch (below(random, 8)) {
      case 0:
      case 1:
      case 2:
        (*file)[at] ^= static_cast<uint8_t>(1u << below(random, 8));
        break;
      case 3:
        (*file)[at] = static_cast<uint8_t>(below(random, 256));
        break;
      case 4: {
        const int64_t value = interesting(random);
        memcpy(file->data() + at, &value, std::min<size_t>(below(random, 2) == 0 ? 4 : 8, file->size() - at));
        break;
      }
      case 5:
        file->resize(at);
        break;
      case 6:
        file->insert(file->end(), below(random, 64), static_cast<uint8_t>(below(random, 256)));
        break;
      default: {
        const size_t from = below(random, file->size()), length = std::min<size_t>(below(random, 64), file->size() - std::max(at, from));
        memmove(file->data() + at, file->data() + from, length);
        break;
      }
    }
  }
}

std::vector<uint8_t> mutate_plan(Random* random, const std::vector<uint8_t>& seed, const tc_library& library) {
  Header header;
  memcpy(&header, seed.data(), sizeof(header));
  fb::ModelT model;
  fb::GetModel(seed.data() + header.plan_offset)->UnPackTo(&model);
  if (below(random, 8) == 0) mutate_buckets(random, &model);
  if (model.plans.empty()) return make_file(model, {});
  fb::PlanT& plan = *model.plans[below(random, model.plans.size())];
  std::vector<uint8_t> weights(seed.begin() + static_cast<std::ptrdiff_t>(header.weights_offset), seed.end());
  for (uint64_t count = 1 + below(random, 1 + below(random, 4)); count-- > 0;) {  // mostly one, so that much is accepted
    const uint64_t kind = below(random, 12);
    if (kind >= 10 && !plan.tensors.empty())
      shrink_dim(random, &plan);
    else if (kind < 4 && !plan.tensors.empty())
      mutate_tensor(random, plan.tensors[below(random, plan.tensors.size())].get());
    else if (kind < 9 && !plan.steps.empty())
      mutate_step(random, &plan, some_step(random, plan), library);
    else
      mutate_model(random, &plan, &weights);
  }
  return make_file(model, weights);
}

}  // namespace tiercast_test
