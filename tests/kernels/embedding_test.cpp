#include "tests/kernels/support.h"

namespace lacuna::testing {
namespace {

TEST(Embedding, AgreesWithPyTorch) {
  const Golden golden("kernels_embedding");
  on_every_backend([&](CpuOps& ops) {
    Array<float> y({9, 21}), dw({11, 21});
    ops.embedding_forward(y, golden["ids"], golden["w"]);
    EXPECT_TRUE(is_close(y, golden["y"], 0, 0));
    dw.set(0);
    ops.embedding_backward(dw, golden["dy"], golden["ids"]);
    EXPECT_TRUE(is_close(dw, golden["dw"], 1e-6, 1e-6));  // sums of up to four numbers
    EXPECT_TRUE(y.guards_hold() && dw.guards_hold());
  });
}

// Row by row in the order of the rows, so the same to the last bit for any number of threads.
TEST(Embedding, SumsRepeatedIdsInOrder) {
  const std::int64_t rows = 300, vocab = 7;
  for (const std::int64_t cols : {1, 15, 16, 17, 64, 333}) {
    Array<float> dy = normal({rows, cols}, 1);
    Array<std::int32_t> ids = integers(rows, vocab, 2);
    const Array<float> before = normal({vocab, cols}, 3);
    Array<float> expected = before;
    for (std::int64_t n = 0; n < rows; ++n)
      for (std::int64_t c = 0; c < cols; ++c) expected.at(ids[n], c) += dy.at(n, c);
    on_every_backend([&](CpuOps& ops) {
      Array<float> dw = before;
      ops.embedding_backward(dw, dy, ids);
      EXPECT_TRUE(dw.same_bits(expected)) << cols;
      EXPECT_TRUE(dw.guards_hold());
    });
  }
}

TEST(Embedding, BackwardIsTheGradient) {
  CpuOps ops(2);
  Array<float> w = normal({5, 4}, 1), dy = normal({6, 4}, 2), y({6, 4}), dw({5, 4});
  List<std::int32_t> ids{4, 1, 1, 0, 4, 4};
  dw.set(0);
  ops.embedding_backward(dw, dy, ids);
  expect_gradient("dw", w, dw, [&] {
    ops.embedding_forward(y, ids, w);
    return weighted_sum(y, dy);
  });
}

TEST(Embedding, OfNoTokens) {
  CpuOps ops(2);
  Array<float> w = normal({5, 4}, 1), y(Shape{0, 4});
  Array<std::int32_t> ids(Shape{0});
  const Array<float> before = w;
  ops.embedding_forward(y, ids, w);
  ops.embedding_backward(w, y, ids);
  EXPECT_TRUE(w.same_bits(before));
}

TEST(Embedding, NamesTheFirstIdOutside) {
  CpuOps ops(1);
  Array<float> w = normal({5, 4}, 1), y({3, 4});
  List<std::int32_t> ids{1, 5, -1}, negative{-1, 5, 0};
  const Array<float> before = y, table = w;
  EXPECT_EQ(error_of([&] { ops.embedding_forward(y, ids, w); }),
            "embedding_forward: ids[1] is 5; it must be in [0,5)");
  EXPECT_EQ(error_of([&] { ops.embedding_backward(w, y, negative); }),
            "embedding_backward: ids[0] is -1; it must be in [0,5)");
  EXPECT_TRUE(y.same_bits(before) && w.same_bits(table)) << "written before the check";
}

TEST(Embedding, NamesWhatDisagrees) {
  CpuOps ops(1);
  Array<float> w({5, 4}), y({3, 3}), more({4, 4});
  List<std::int32_t> ids{1, 2, 3};
  Array<float> not_ids({3});
  EXPECT_EQ(error_of([&] { ops.embedding_forward(y, ids, w); }),
            "embedding_forward: w is [5,4] f32; it must be [5,3] f32");
  EXPECT_EQ(error_of([&] { ops.embedding_forward(more, ids, w); }),
            "embedding_forward: y is [4,4] f32; it must be [3,4] f32");
  EXPECT_EQ(error_of([&] { ops.embedding_forward(more, not_ids, w); }),
            "embedding_forward: ids is [3] f32; it must be [3] i32");
}

}  // namespace
}  // namespace lacuna::testing
