#include "branch/function_callable.h"

#include <ATen/core/grad_mode.h>

namespace torchrev {
namespace detail {

namespace {

// Holds the tensors of a function branch for its parent module, so that
// parameters(), to() and saving reach them.
class FunctionModule final : public torch::nn::Module {
 public:
  FunctionModule(
      const std::vector<Tensor>& parameters, const std::vector<Tensor>& buffers)
      : torch::nn::Module("torchrev::Branch::function") {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      register_parameter(
          "parameter" + std::to_string(i),
          parameters[i],
          parameters[i].requires_grad());
    }
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      register_buffer("buffer" + std::to_string(i), buffers[i]);
    }
  }
};

std::vector<Tensor> copies(
    const std::vector<Tensor>& tensors,
    const torch::optional<c10::Device>& device) {
  at::NoGradGuard no_grad;
  std::vector<Tensor> result;
  for (const auto& tensor : tensors) {
    auto copy = device && *device != tensor.device() ? tensor.to(*device)
                                                     : tensor.clone();
    result.push_back(copy.set_requires_grad(tensor.requires_grad()));
  }
  return result;
}

class FunctionCallable final : public Callable {
 public:
  FunctionCallable(
      Branch::Function function,
      std::vector<Tensor> parameters,
      std::vector<Tensor> buffers)
      : function_(std::move(function)),
        parameters_(std::move(parameters)),
        buffers_(std::move(buffers)),
        module_(std::make_shared<FunctionModule>(parameters_, buffers_)) {}

  Tensor forward(
      const Tensor& x,
      at::TensorList context,
      at::TensorList parameters) override {
    return function_(x, context, parameters);
  }
  std::vector<Tensor> parameters() const override {
    return parameters_;
  }
  std::vector<Tensor> buffers() const override {
    return buffers_;
  }
  std::vector<c10::IValue> attributes() const override {
    return {};
  }
  void set_attributes(const std::vector<c10::IValue>& /*values*/) override {}
  bool takes_parameters() const override {
    return true;
  }
  Identity identity() const override {
    Identity identity;
    identity.type = function_.target_type();
    return identity;
  }
  std::shared_ptr<torch::nn::Module> module() override {
    return module_;
  }
  std::shared_ptr<Callable> clone(
      const torch::optional<c10::Device>& device) const override {
    return std::make_shared<FunctionCallable>(
        function_, copies(parameters_, device), copies(buffers_, device));
  }

 private:
  Branch::Function function_;
  std::vector<Tensor> parameters_;
  std::vector<Tensor> buffers_;
  std::shared_ptr<torch::nn::Module> module_;
};

}  // namespace

std::shared_ptr<Callable> make_function_callable(
    Branch::Function function,
    std::vector<Tensor> parameters,
    std::vector<Tensor> buffers) {
  return std::make_shared<FunctionCallable>(
      std::move(function), std::move(parameters), std::move(buffers));
}

}  // namespace detail
}  // namespace torchrev
