// tiercast._native: the C API and the host's kernel library for Python.
#include <dlfcn.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "peak.h"
#include "step_time.h"
#include "tiercast/cpu.h"
#include "tiercast/library.h"
#include "tiercast/tiercast.h"

namespace py = pybind11;

namespace {

// What every refusal of the runtime becomes; registered as tiercast._native.NativeError.
struct NativeError {
  tc_status status;
  std::string message;
};

const char* status_name(tc_status status) {
  switch (status) {
    case TC_OK:
      return "ok";
    case TC_ERROR_ARGUMENT:
      return "argument";
    case TC_ERROR_IO:
      return "io";
    case TC_ERROR_PACKAGE:
      return "package";
    case TC_ERROR_KERNEL:
      return "kernel";
    case TC_ERROR_MEMORY:
      return "memory";
  }
  return "unknown";
}

// Throws when `status` is not TC_OK.
void require(tc_status status, const tc_error& error) {
  if (status != TC_OK) throw NativeError{status, error.message};
}

std::vector<std::string> feature_names(uint64_t features) {
  std::vector<std::string> names;
  for (int32_t i = 0; i < TC_CPU_FEATURE_COUNT; ++i)
    if (((features >> i) & 1) != 0) names.emplace_back(tc_cpu_feature_name(i));
  return names;
}

uint64_t parse_features(const std::vector<std::string>& names) {
  uint64_t features = 0;
  for (const std::string& name : names) {
    uint64_t bit = 0;
    if (name == "none" || name.find(',') != std::string::npos || tc_cpu_features_parse(name.c_str(), &bit) == 0)
      throw NativeError{TC_ERROR_ARGUMENT, "features: unknown CPU feature \"" + name + "\""};
    features |= bit;
  }
  return features;
}

py::dtype numpy_dtype(int32_t dtype) {
  switch (dtype) {
    case TC_F32:
      return py::dtype("float32");
    case TC_F16:
      return py::dtype("float16");
    case TC_S8:
      return py::dtype("int8");
    case TC_U8:
      return py::dtype("uint8");
    case TC_S32:
      return py::dtype("int32");
    case TC_S64:
      return py::dtype("int64");
    case TC_S16:
      return py::dtype("int16");
    case TC_U16:
      return py::dtype("uint16");
    case TC_U32:
      return py::dtype("uint32");
    case TC_U64:
      return py::dtype("uint64");
    case TC_F64:
      return py::dtype("float64");
    case TC_BF16:
      return py::dtype::from_args(py::module_::import("ml_dtypes").attr("bfloat16"));
    default:
      return py::dtype("bool");
  }
}

std::vector<py::ssize_t> shape_of(int32_t rank, const int64_t* dims) { return {dims, dims + rank}; }

// Zeroed: a plan that leaves part of an output unwritten must not show old memory.
py::array make_array(int32_t dtype, int32_t rank, const int64_t* dims) {
  return py::module_::import("numpy").attr("zeros")(py::tuple(py::cast(shape_of(rank, dims))), numpy_dtype(dtype));
}

using PortTuple = std::tuple<std::string, std::string, std::vector<py::ssize_t>>;

PortTuple port_tuple(const tc_port& port) { return {port.name, tc_dtype_name(port.dtype), shape_of(port.rank, port.dims)}; }

// Collects what the observer sees. It is called without the GIL, so it touches no Python object.
struct Recording {
  bool keeps_outputs = false;
  struct Tap {
    tc_view view;  // data is not valid any more
    std::vector<uint8_t> bytes;
  };
  std::vector<std::vector<Tap>> taps;
  std::vector<double> microseconds;
  bool out_of_memory = false;

  static void observe(void* user, int64_t, const tc_view* outputs, int32_t output_count, double step_us) noexcept {
    auto& self = *static_cast<Recording*>(user);
    try {
      self.microseconds.push_back(step_us);
      if (!self.keeps_outputs) return;
      std::vector<Tap> step;
      for (int32_t i = 0; i < output_count; ++i) {
        step.push_back({outputs[i], std::vector<uint8_t>(tc_view_dense_bytes(&outputs[i]))});
        tc_view_copy_dense(&outputs[i], step.back().bytes.data());
      }
      self.taps.push_back(std::move(step));
    } catch (const std::bad_alloc&) {
      self.out_of_memory = true;
    }
  }
};

py::array tap_array(const Recording::Tap& tap) {
  py::array array = make_array(tap.view.dtype, tap.view.rank, tap.view.dims);
  std::copy(tap.bytes.begin(), tap.bytes.end(), static_cast<uint8_t*>(array.mutable_data()));
  return array;
}

// The table of an extra kernel library's file. It stays loaded as long as the process: its rows may be bound anywhere.
const tc_library& load_library(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw NativeError{TC_ERROR_IO, "extra kernels: " + std::string(dlerror())};
  const auto table = reinterpret_cast<decltype(&tc_library_extra)>(dlsym(handle, "tc_library_extra"));
  if (table == nullptr) throw NativeError{TC_ERROR_IO, "extra kernels: " + path + " has no tc_library_extra"};
  const tc_library* library = table(TC_KERNEL_ABI);
  if (library == nullptr)
    throw NativeError{TC_ERROR_KERNEL, "extra kernels: " + path + " is for another kernel contract than this runtime's; compile again"};
  return *library;
}

class PySession {
 public:
  PySession(const std::string& path, int32_t threads, const std::optional<std::vector<std::string>>& features, int32_t cores,
            const std::vector<std::string>& libraries) {
    library_ = *tc_library_full();
    for (const std::string& file : libraries) join(load_library(file));
    tc_options options = tc_options_default();
    options.threads = threads;
    options.cores = static_cast<tc_cores>(cores);
    if (features) options.cpu_features = parse_features(*features);
    tc_error error;
    tc_session* session = nullptr;
    tc_status status;
    {
      py::gil_scoped_release release;
      status = tc_session_open(path.c_str(), &library_, &options, &session, &error);
    }
    require(status, error);
    session_.reset(session);
  }

  std::vector<PortTuple> inputs() const {
    std::vector<PortTuple> ports;
    for (int32_t i = 0; i < tc_session_input_count(get()); ++i) ports.push_back(port_tuple(*tc_session_input(get(), i)));
    return ports;
  }

  std::vector<PortTuple> outputs() const {
    std::vector<PortTuple> ports;
    for (int32_t i = 0; i < tc_session_output_count(get()); ++i) ports.push_back(port_tuple(*tc_session_output(get(), i)));
    return ports;
  }

  int32_t bucket() const { return tc_session_bucket(get()); }
  int32_t bucket_count() const { return tc_session_bucket_count(get()); }
  void select(int32_t bucket) {
    refuse_while_running();
    tc_error error;
    require(tc_session_select(get(), bucket, &error), error);
  }
  void resize(const std::vector<std::vector<int64_t>>& inputs) {
    refuse_while_running();
    std::vector<tc_shape> shapes;
    for (const auto& dims : inputs) {
      if (dims.size() > TC_MAX_RANK) throw NativeError{TC_ERROR_ARGUMENT, "an input shape has more dimensions than the runtime holds"};
      shapes.push_back({static_cast<int32_t>(dims.size()), {}});
      std::copy(dims.begin(), dims.end(), shapes.back().dims);
    }
    tc_error error;
    require(tc_session_resize(get(), shapes.data(), static_cast<int32_t>(shapes.size()), &error), error);
  }

  py::list steps() const { return list_steps(tc_session_step_count(get()), tc_session_step); }
  py::list prepare_steps() const { return list_steps(tc_session_prepare_count(get()), tc_session_prepare_step); }

  py::list list_steps(int64_t count, tc_status (*step_at)(const tc_session*, int64_t, tc_step_info*)) const {
    py::list steps;
    for (int64_t i = 0; i < count; ++i) {
      tc_step_info info;
      step_at(get(), i, &info);
      py::dict step;
      step["name"] = info.name;
      step["op"] = info.op;
      step["kernel"] = info.kernel;
      step["chosen"] = info.chosen;
      steps.append(step);
    }
    return steps;
  }

  int32_t threads() const { return tc_session_threads(get()); }
  uint64_t arena_bytes() const { return tc_session_arena_bytes(get()); }
  uint64_t weights_bytes() const { return tc_session_weights_bytes(get()); }
  uint64_t prepared_bytes() const { return tc_session_prepared_bytes(get()); }
  uint64_t scratch_bytes() const { return tc_session_scratch_bytes(get()); }

  std::vector<py::array> run(const std::vector<py::array>& inputs) { return run_observed(inputs, nullptr); }

  py::tuple run_tapped(const std::vector<py::array>& inputs) {
    Recording recording;
    recording.keeps_outputs = true;
    std::vector<py::array> outputs = run_observed(inputs, &recording);
    py::list taps;
    for (const auto& step : recording.taps) {
      py::list arrays;
      for (const Recording::Tap& tap : step) arrays.append(tap_array(tap));
      taps.append(arrays);
    }
    return py::make_tuple(outputs, taps);
  }

  py::tuple run_timed(const std::vector<py::array>& inputs) {
    Recording recording;
    recording.microseconds.reserve(static_cast<size_t>(tc_session_step_count(get())));
    std::vector<py::array> outputs = run_observed(inputs, &recording);
    return py::make_tuple(outputs, recording.microseconds);
  }

  std::pair<double, double> time_step(const std::vector<py::array>& inputs, int64_t index, double seconds) {
    if (index < 0 || index >= tc_session_step_count(get())) throw NativeError{TC_ERROR_ARGUMENT, "there is no such step"};
    const std::vector<py::array> outputs = run_observed(inputs, nullptr);
    running_ = true;
    tiercast::StepTime time;
    {
      py::gil_scoped_release release;
      time = tiercast::time_step(get(), index, seconds);
    }
    running_ = false;
    return {time.min_us, time.median_us};
  }

 private:
  struct Close {
    void operator()(tc_session* session) const { tc_session_close(session); }
  };

  tc_session* get() const { return session_.get(); }

  void join(const tc_library& more) {
    std::vector<const tc_kernel*> joined(static_cast<size_t>(library_.count + more.count));
    tc_error error;
    require(tc_library_join(&library_, &more, joined.data(), static_cast<int64_t>(joined.size()), &library_, &error), error);
    kernels_.swap(joined);
  }

  // The array's memory as a buffer, when its dtype, shape and layout are the port's.
  static tc_buffer input_buffer(const tc_port& port, const py::array& array) {
    const std::string name = "input \"" + std::string(port.name) + "\": ";
    if (!array.dtype().is(numpy_dtype(port.dtype)) && !array.dtype().equal(numpy_dtype(port.dtype)))
      throw NativeError{TC_ERROR_ARGUMENT,
                        name + "dtype must be " + tc_dtype_name(port.dtype) + ", got " + std::string(py::str(array.dtype()))};
    if (shape_of(port.rank, port.dims) != std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()))
      throw NativeError{TC_ERROR_ARGUMENT, name + "shape must be " +
                                               std::string(py::str(py::tuple(py::cast(shape_of(port.rank, port.dims))))) + ", got " +
                                               std::string(py::str(array.attr("shape")))};
    if ((array.flags() & py::array::c_style) == 0) throw NativeError{TC_ERROR_ARGUMENT, name + "the array must be C-contiguous"};
    return {const_cast<void*>(array.data()), port.bytes};
  }

  // A second thread is refused rather than raced with.
  void refuse_while_running() const {
    if (running_) throw NativeError{TC_ERROR_ARGUMENT, "the session is running in another thread; give each thread its own"};
  }

  // One run, watched by `recording` when there is one.
  std::vector<py::array> run_observed(const std::vector<py::array>& inputs, Recording* recording) {
    refuse_while_running();
    if (static_cast<int32_t>(inputs.size()) != tc_session_input_count(get()))
      throw NativeError{TC_ERROR_ARGUMENT,
                        std::to_string(inputs.size()) + " inputs given; the package has " + std::to_string(tc_session_input_count(get()))};
    std::vector<tc_buffer> in, out;
    for (size_t i = 0; i < inputs.size(); ++i) in.push_back(input_buffer(*tc_session_input(get(), static_cast<int32_t>(i)), inputs[i]));
    std::vector<py::array> outputs;
    for (int32_t i = 0; i < tc_session_output_count(get()); ++i) {
      const tc_port& port = *tc_session_output(get(), i);
      outputs.push_back(make_array(port.dtype, port.rank, port.dims));
      out.push_back({outputs.back().mutable_data(), port.bytes});
    }
    tc_error error;
    tc_status status;
    running_ = true;
    {
      py::gil_scoped_release release;
      tc_session_set_observer(get(), recording == nullptr ? nullptr : Recording::observe, recording);
      status = tc_session_run(get(), in.data(), static_cast<int32_t>(in.size()), out.data(), static_cast<int32_t>(out.size()), &error);
      tc_session_set_observer(get(), nullptr, nullptr);
    }
    running_ = false;
    require(status, error);
    if (recording != nullptr && recording->out_of_memory) throw std::bad_alloc();
    return outputs;
  }

  std::vector<const tc_kernel*> kernels_;  // of `library_`, where it is not the built-in table itself
  tc_library library_;
  std::unique_ptr<tc_session, Close> session_;
  bool running_ = false;  // under the GIL
};

std::vector<std::tuple<std::string, std::string, std::vector<std::string>>> kernels() {
  std::vector<std::tuple<std::string, std::string, std::vector<std::string>>> rows;
  const tc_library& library = *tc_library_full();
  for (int64_t i = 0; i < library.count; ++i)
    rows.emplace_back(library.kernels[i]->name, library.kernels[i]->op, feature_names(library.kernels[i]->needs));
  return rows;
}

void check_package(const std::string& path) {
  tc_error error;
  tc_status status;
  {
    py::gil_scoped_release release;
    status = tc_package_check(path.c_str(), &error);
  }
  require(status, error);
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.doc() = "The C++ runtime and the host's kernel library.";

  static py::exception<NativeError> native_error(module, "NativeError");
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const NativeError& error) {
      py::object instance = py::reinterpret_borrow<py::object>(native_error)(error.message);
      instance.attr("status") = status_name(error.status);
      PyErr_SetObject(native_error.ptr(), instance.ptr());
    }
  });

  module.def("cpu_features", [] { return feature_names(tc_cpu_features()); });
  module.def("peak_gflops", &tiercast::peak_gflops, py::call_guard<py::gil_scoped_release>());
  module.def("kernels", &kernels);
  module.def("check_package", &check_package, py::arg("path"));

  py::class_<PySession>(module, "Session")
      .def(
          py::init<const std::string&, int32_t, const std::optional<std::vector<std::string>>&, int32_t, const std::vector<std::string>&>(),
          py::arg("path"), py::arg("threads") = 1, py::arg("features") = py::none(),
          py::arg("cores") = static_cast<int32_t>(TC_CORES_PACKAGE), py::arg("libraries") = std::vector<std::string>())
      .def_property_readonly("threads", &PySession::threads)
      .def_property_readonly("inputs", &PySession::inputs)
      .def_property_readonly("outputs", &PySession::outputs)
      .def_property_readonly("bucket", &PySession::bucket)
      .def_property_readonly("bucket_count", &PySession::bucket_count)
      .def("select", &PySession::select, py::arg("bucket"))
      .def("resize", &PySession::resize, py::arg("shapes"))
      .def_property_readonly("steps", &PySession::steps)
      .def_property_readonly("prepare_steps", &PySession::prepare_steps)
      .def_property_readonly("arena_bytes", &PySession::arena_bytes)
      .def_property_readonly("weights_bytes", &PySession::weights_bytes)
      .def_property_readonly("prepared_bytes", &PySession::prepared_bytes)
      .def_property_readonly("scratch_bytes", &PySession::scratch_bytes)
      .def("run", &PySession::run, py::arg("inputs"))
      .def("run_tapped", &PySession::run_tapped, py::arg("inputs"))
      .def("run_timed", &PySession::run_timed, py::arg("inputs"))
      .def("time_step", &PySession::time_step, py::arg("inputs"), py::arg("index"), py::arg("seconds"));
}
