// kernels/platform/gpu/gemm.cpp: products of every kind, and which algorithms run.
#include <cmath>
#include <vector>

#include "core/half.h"
#include "core/philox.h"
#include "kernels/platform/gemm.h"
#include "tests/cuda/host/stand_ins.h"

namespace lacuna::testing {
namespace {

using toolkit::Algorithm;
using toolkit::calls;

/// A matrix of [rows, cols], its rows `gap` elements apart and it `shift` elements off a multiple
/// of 256 bytes.
struct Stored {
  Stored(Device& d, std::int64_t r, std::int64_t c, DType t, std::int64_t gap, std::int64_t shift)
      : device(d), rows(r), cols(c), stride(c + gap), type(t) {
    size = (shift + rows * stride) * size_of(type);
    memory = device.memory().allocate(size);
    data = static_cast<char*>(memory) + shift * size_of(type);
  }
  ~Stored() { device.memory().release(memory, size); }
  Stored(const Stored&) = delete;
  Stored& operator=(const Stored&) = delete;

  /// From numbers without gaps; they are as stored afterwards.
  void write(std::vector<float>& x) {
    std::vector<BFloat16> halves;
    for (float& value : x) {
      halves.push_back(to_bf16(value));
      if (type == DType::bf16) value = to_float(halves.back());
    }
    const void* from = type == DType::bf16 ? static_cast<const void*>(halves.data()) : x.data();
    device.copy("test", data, Place::device, stride * size_of(type), from, Place::host,
                cols * size_of(type), cols * size_of(type), rows);
  }
  std::vector<float> read() const {
    std::vector<float> x(std::size_t(rows * cols));
    std::vector<BFloat16> halves(x.size());
    void* to = type == DType::bf16 ? static_cast<void*>(halves.data()) : x.data();
    device.copy("test", to, Place::host, cols * size_of(type), data, Place::device,
                stride * size_of(type), cols * size_of(type), rows);
    if (type == DType::bf16)
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = to_float(halves[i]);
    return x;
  }

  Device& device;
  std::int64_t rows, cols, stride, size = 0;
  DType type;
  void* memory = nullptr;
  void* data = nullptr;
};

struct Kind {
  std::int64_t m, n, k;
  bool transpose_a = false, transpose_b = false;
  DType factors = DType::f32, result = DType::f32;
  bool accumulate = false;
  std::int64_t gap = 0, shift = 0;
};

/// The factors and the result of a product; standard normal numbers.
struct Operands {
  Operands(Device& d, const Kind& kind)
      : k(kind),
        a(d, k.transpose_a ? k.k : k.m, k.transpose_a ? k.m : k.k, k.factors, k.gap, k.shift),
        b(d, k.transpose_b ? k.n : k.k, k.transpose_b ? k.k : k.n, k.factors, k.gap, k.shift),
        c(d, k.m, k.n, k.result, k.gap, k.shift) {
    std::uint64_t seed = 1;
    for (auto& [stored, values] : {std::pair<Stored*, std::vector<float>*>{&a, &a_values},
                                   {&b, &b_values},
                                   {&c, &c_values}}) {
      const CounterRng rng{seed++, Purpose::benchmark, 0};
      for (std::int64_t i = 0; i < stored->rows * stored->cols; ++i)
        values->push_back(float(rng.normal_pair(std::uint32_t(i))[0]));
      stored->write(*values);
    }
  }
  Gemm product() const {
    return {k.transpose_a, k.transpose_b, k.m,    k.n,      k.k,       a.data,   a.stride,
            b.data,        b.stride,      c.data, c.stride, k.factors, k.result, k.accumulate};
  }
  /// Chooses the algorithm of the product, whose result is then as it was.
  void tune(GemmRunner& products) {
    products.tune([&] { products.multiply("an_op", product()); });
    c.write(c_values);
  }
  /// Whether c is the product, rounded once; f32 sums of k terms below 20.
  ::testing::AssertionResult is_right() const {
    const std::vector<float> actual = c.read();
    for (std::int64_t i = 0; i < k.m; ++i)
      for (std::int64_t j = 0; j < k.n; ++j) {
        const auto at = std::size_t(i * k.n + j);
        double sum = k.accumulate ? double(c_values[at]) : 0;
        for (std::int64_t p = 0; p < k.k; ++p)
          sum += double(a_values[std::size_t(k.transpose_a ? p * k.m + i : i * k.k + p)]) *
                 double(b_values[std::size_t(k.transpose_b ? j * k.k + p : p * k.n + j)]);
        const double bound =
            0x1p-24 * 20 * double(k.k + 1) + (k.result == DType::bf16 ? 0x1p-8 * std::abs(sum) : 0);
        if (!(std::abs(double(actual[at]) - sum) <= bound))
          return ::testing::AssertionFailure()
                 << "element " << i << "," << j << " is " << actual[at] << ", expected " << sum;
      }
    return ::testing::AssertionSuccess();
  }

  Kind k;
  Stored a, b, c;
  std::vector<float> a_values, b_values, c_values;
};

std::vector<Kind> kinds() {
  std::vector<Kind> all;
  struct Size {
    std::int64_t m, n, k, gap, shift;
  };
  for (const auto [m, n, k, gap, shift] : {Size{1, 1, 1, 0, 0},
                                           {5, 7, 3, 0, 0},
                                           {32, 16, 64, 0, 0},
                                           {8, 24, 40, 8, 16},
                                           {8, 24, 40, 3, 0},
                                           {8, 24, 40, 0, 1},
                                           {16, 1, 8, 0, 0},
                                           {1, 16, 8, 5, 3}})
    for (const bool transpose_a : {false, true})
      for (const bool transpose_b : {false, true})
        for (const auto& [factors, result] : {std::pair{DType::f32, DType::f32},
                                              {DType::bf16, DType::f32},
                                              {DType::bf16, DType::bf16}})
          for (const bool accumulate : {false, true})
            all.push_back(
                {m, n, k, transpose_a, transpose_b, factors, result, accumulate, gap, shift});
  return all;
}

void expect_all_right(bool tunes) {
  Device device(0);
  GemmRunner products(device, tunes);
  for (const Kind& kind : kinds()) {
    Operands x(device, kind);
    x.tune(products);
    products.multiply("an_op", x.product());
    EXPECT_TRUE(x.is_right()) << kind.m << "," << kind.n << "," << kind.k << " gap " << kind.gap
                              << " shift " << kind.shift << kind.transpose_a << kind.transpose_b
                              << kind.factors << kind.result << kind.accumulate;
  }
}

using ProductsOnStandIns = StandInTest;

TEST_F(ProductsOnStandIns, AreRightOfEveryKind) { expect_all_right(false); }
TEST_F(ProductsOnStandIns, AreRightWhenTheyAreTuned) { expect_all_right(true); }

/// Once a product was done, the next of its kind does nothing but multiply.
TEST_F(ProductsOnStandIns, AskOncePerKind) {
  for (const bool tunes : {false, true}) {
    Device device(0);
    GemmRunner products(device, tunes);
    Operands x(device, {16, 24, 32, false, true, DType::bf16, DType::bf16});
    x.tune(products);
    const char* const costly[] = {"cublasLtMatmulAlgoGetHeuristic",
                                  "cublasLtMatrixLayoutCreate",
                                  "cudaMalloc",
                                  "cudaFree",
                                  "cudaStreamSynchronize",
                                  "cudaDeviceSynchronize",
                                  "cudaEventSynchronize"};
    std::vector<std::int64_t> before, after;
    for (const char* name : costly) before.push_back(calls(name));
    const std::int64_t products_before = calls("cublasLtMatmul");
    for (int turn = 0; turn < 3; ++turn) products.multiply("an_op", x.product());
    for (const char* name : costly) after.push_back(calls(name));
    EXPECT_EQ(after, before);
    EXPECT_EQ(calls("cublasLtMatmul"), products_before + 3);
    EXPECT_TRUE(x.is_right());
  }
}

/// bf16 results are rounded once, from f32 sums: 1 + 256 - 256 is 1.
TEST_F(ProductsOnStandIns, DoNotRoundPartialSums) {
  for (const bool tunes : {false, true}) {
    Device device(0);
    GemmRunner products(device, tunes);
    Operands x(device, {8, 8, 2, false, true, DType::bf16, DType::bf16, true});
    std::vector<float> a, b(16, 256), c(64, 1);
    for (int i = 0; i < 8; ++i) a.insert(a.end(), {1, -1});
    x.a.write(a);
    x.b.write(b);
    x.c_values = c;
    x.tune(products);
    products.multiply("an_op", x.product());
    EXPECT_EQ(x.c.read(), std::vector<float>(64, 1));
  }
}

/// While results matter, the library's first choice; then the fastest, in place of that.
TEST_F(ProductsOnStandIns, TakeTheFastestWhenTuned) {
  const Kind kind{16, 24, 32, false, true, DType::bf16, DType::f32, true};
  for (const bool tunes : {false, true})
    for (const Algorithm fastest : {Algorithm::general, Algorithm::tiled, Algorithm::split_k}) {
      toolkit::Blas blas;
      blas.microseconds[int(fastest)] = 0.5;
      toolkit::start_machine({}, blas);
      Device device(0);
      GemmRunner products(device, tunes);
      Operands x(device, kind);
      products.multiply("an_op", x.product());
      const Algorithm first = toolkit::last_algorithm();
      EXPECT_TRUE(x.is_right());
      EXPECT_EQ(toolkit::calls("cublasLtMatmul"), 1);
      x.c.write(x.c_values);
      x.tune(products);
      products.multiply("an_op", x.product());
      EXPECT_EQ(toolkit::last_algorithm(), tunes ? fastest : first);
      EXPECT_TRUE(x.is_right());
    }
}

/// Tuning asks for no memory, so that it cannot fail for want of it, nor wait to release it.
TEST_F(ProductsOnStandIns, TuneWithoutMemoryOfTheirOwn) {
  Device device(0);
  GemmRunner products(device, true);
  Operands x(device, {16, 24, 32, false, false, DType::bf16, DType::f32, true});
  const std::int64_t allocations = toolkit::calls("cudaMalloc");
  x.tune(products);
  EXPECT_EQ(toolkit::calls("cudaMalloc"), allocations);
}

/// What was tuned in one run is not in the next, and other kinds of GPU, drivers and libraries do
/// not take it.
TEST_F(ProductsOnStandIns, TakeWhatAnEarlierRunChose) {
  const Kind kind{16, 24, 32, false, true, DType::bf16, DType::f32};
  toolkit::Blas blas;
  blas.microseconds[int(Algorithm::split_k)] = 0.5;
  toolkit::start_machine({}, blas);
  std::string text;
  {
    Device device(0);
    GemmRunner products(device, true);
    EXPECT_NE(products.algorithms(), "");
    Operands x(device, kind);
    x.tune(products);
    text = products.algorithms();
  }
  toolkit::start_machine();  // where another is the fastest
  for (const bool known_before : {false, true}) {
    Device device(0);
    GemmRunner products(device, true);
    Operands x(device, kind);
    if (known_before) products.multiply("an_op", x.product());
    products.use_algorithms(text);
    const std::int64_t before = toolkit::calls("cublasLtMatmul");
    x.tune(products);
    EXPECT_EQ(toolkit::calls("cublasLtMatmul"), before + 1);  // nothing was timed
    products.multiply("an_op", x.product());
    EXPECT_EQ(toolkit::last_algorithm(), Algorithm::split_k);
    EXPECT_TRUE(x.is_right());
    EXPECT_EQ(products.algorithms(), text);
  }
  toolkit::start_machine({}, {.missing = {Algorithm::split_k}});  // the library does not take it
  {
    Device device(0);
    GemmRunner products(device, true);
    products.use_algorithms(text);
    Operands x(device, kind);
    products.multiply("an_op", x.product());
    EXPECT_TRUE(x.is_right());
    EXPECT_NE(toolkit::last_algorithm(), Algorithm::split_k);
  }
  for (const toolkit::Machine& other :
       {toolkit::Machine{.devices = {toolkit::sm_80()}}, toolkit::Machine{.driver = 13010}}) {
    toolkit::start_machine(other);
    Device device(0);
    GemmRunner tuned(device, true), plain(device, false);
    EXPECT_TRUE(contains(error_of([&] { tuned.use_algorithms(text); }), "is of '"));
    EXPECT_TRUE(contains(error_of([&] { tuned.use_algorithms("nonsense"); }), "damaged"));
    plain.use_algorithms(text);  // not asked for
    EXPECT_EQ(plain.algorithms(), "");
  }
}

/// What the heuristic lists need not run: not what it lists in an error state, nor what fails.
TEST_F(ProductsOnStandIns, PassOverAlgorithmsThatDoNotRun) {
  const Kind kind{16, 24, 32, false, false, DType::bf16, DType::bf16};
  for (const bool tunes : {false, true})
    for (const Algorithm bad : {Algorithm::tiled, Algorithm::split_k, Algorithm::general}) {
      toolkit::start_machine({}, {.in_error_state = {bad}});
      Device device(0);
      GemmRunner products(device, tunes);
      Operands x(device, kind);
      products.multiply("an_op", x.product());
      EXPECT_TRUE(x.is_right());
      EXPECT_NE(toolkit::last_algorithm(), bad);
    }
  toolkit::start_machine({}, {.failing = {Algorithm::tiled, Algorithm::split_k}});
  Device device(0);
  GemmRunner products(device, true);
  Operands x(device, kind);
  x.tune(products);
  products.multiply("an_op", x.product());
  EXPECT_TRUE(x.is_right());
}

TEST_F(ProductsOnStandIns, SayThatThereIsNoAlgorithm) {
  const std::set<Algorithm> all = {Algorithm::tiled, Algorithm::general, Algorithm::split_k,
                                   Algorithm::split_k_in_place, Algorithm::split_k_rounded};
  for (const bool tunes : {false, true})
    for (const toolkit::Blas& blas :
         {toolkit::Blas{.missing = all}, {.in_error_state = all}, {.failing = all}}) {
      toolkit::start_machine({}, blas);
      Device device(0);
      GemmRunner products(device, tunes);
      Operands x(device, {16, 24, 32, false, false, DType::bf16, DType::bf16});
      EXPECT_TRUE(contains(error_of([&] { products.multiply("an_op", x.product()); }), "an_op: "));
      toolkit::set_blas({});
      products.multiply("an_op", x.product());  // nothing of the failure is kept
      EXPECT_TRUE(x.is_right());
    }
}

}  // namespace
}  // namespace lacuna::testing
