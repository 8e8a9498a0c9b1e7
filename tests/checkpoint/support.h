#pragma once
#include <cstring>
#include <deque>
#include <random>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "core/check.h"
#include "core/tensor.h"
#include "tests/support/support.h"

namespace lacuna::testing {

inline constexpr DType kEveryType[] = {DType::f32, DType::f64, DType::bf16, DType::f16,
                                       DType::i32, DType::i64, DType::u8};

/// Tensors that own their memory, for the life of this object.
class Tensors {
 public:
  explicit Tensors(std::uint64_t seed = 1) : random_(seed) {}
  Tensor zeros(Shape shape, DType dtype = DType::f32) {
    memory_.emplace_back(std::size_t(shape.count() * size_of(dtype)) + 8);  // never empty
    return Tensor(static_cast<void*>(memory_.back().data()), shape, dtype);
  }
  /// Any bits at all: infinities, NaN and subnormals too.
  Tensor random(Shape shape, DType dtype = DType::f32) {
    const Tensor t = zeros(shape, dtype);
    for (char& c : memory_.back()) c = char(random_());
    return t;
  }
  template <class T>
  Tensor of(Shape shape, std::vector<T> values) {
    const Tensor t = zeros(shape, dtype_of<T>);
    CHECK(std::int64_t(values.size()) == t.count(), "values and shape differ");
    std::memcpy(t.data, values.data(), std::size_t(t.bytes()));
    return t;
  }

 private:
  std::mt19937_64 random_;
  std::deque<std::vector<char>> memory_;
};

/// Shape, dtype and every bit.
inline ::testing::AssertionResult same(const Tensor& a, const Tensor& b) {
  if (a.shape != b.shape || a.dtype != b.dtype)
    return ::testing::AssertionFailure() << a << " is not " << b;
  const auto *x = static_cast<const char*>(a.data), *y = static_cast<const char*>(b.data);
  for (std::int64_t i = 0; i < a.bytes(); ++i)
    if (x[i] != y[i]) return ::testing::AssertionFailure() << "byte " << i << " differs";
  return ::testing::AssertionSuccess();
}

inline CheckpointTensors model_only(std::vector<NamedTensor> model) {
  CheckpointTensors tensors;
  tensors.model = std::move(model);
  return tensors;
}

/// A small checkpoint that has everything a checkpoint can have. Two of the same seed are equal.
struct SampleCheckpoint {
  explicit SampleCheckpoint(std::int64_t step = 7, std::int64_t width = 8)
      : memory(std::uint64_t(step)) {
    info.step = step;
    info.samples = 32 * step;
    info.tokens = 1000 * step;
    info.bad_steps = step / 2;
    info.seed = 5;
    info.config = "[model]\nnum_layers = 2\n";
    info.tokenizer = str(std::string(300, 't'), "\xc3\xa9");
    info.extra = {{"hf_config", "{}"}, {"hf_file:a.txt", std::string(70'000, 'x')}};
    for (const char* name : {"model.transformer.wte.weight", "model.transformer.ln_f.weight"}) {
      const Shape shape = name[18] == 'w' ? Shape{5, width} : Shape{width};
      tensors.model.push_back({name, memory.random(shape, DType::bf16)});
      tensors.first_moment.push_back({name, memory.random(shape)});
      tensors.second_moment.push_back({name, memory.random(shape)});
      tensors.master.push_back({name, memory.random(shape)});
    }
  }
  void save(const std::filesystem::path& path) const { save_checkpoint(path, info, tensors); }

  /// Compares everything in the file with what was saved.
  ::testing::AssertionResult matches(const CheckpointReader& reader) const {
    const CheckpointInfo& i = reader.info();
    if (i.step != info.step || i.samples != info.samples || i.tokens != info.tokens ||
        i.bad_steps != info.bad_steps || i.seed != info.seed || i.config != info.config ||
        i.tokenizer != info.tokenizer || i.extra != info.extra)
      return ::testing::AssertionFailure() << "its attributes differ";
    const std::pair<const char*, const std::vector<NamedTensor>*> groups[] = {
        {"model", &tensors.model},
        {"first_moment", &tensors.first_moment},
        {"second_moment", &tensors.second_moment},
        {"master", &tensors.master}};
    for (const auto& [group, expected] : groups) {
      if (reader.names(group).size() != expected->size())
        return ::testing::AssertionFailure() << group << " has other tensors";
      for (const NamedTensor& t : *expected) {
        Tensors own;
        const Tensor read = own.zeros(reader.shape(group, t.name), reader.dtype(group, t.name));
        reader.read(group, t.name, read);
        if (const auto equal = same(read, t.tensor); !equal)
          return ::testing::AssertionFailure() << group << ' ' << t.name << ": " << equal.message();
      }
    }
    return ::testing::AssertionSuccess();
  }

  Tensors memory;
  CheckpointInfo info;
  CheckpointTensors tensors;
};

}  // namespace lacuna::testing
