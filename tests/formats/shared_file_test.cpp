// One file from several writers. Threads stand for processes.
#include "formats/shared_file.h"

#include <barrier>
#include <thread>

#include "tests/checkpoint/support.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::same;
using testing::Tensors;

TEST(PartialChecksum, PutsPartsTogether) {
  Tensors own;
  const Tensor t = own.random({10'000}, DType::u8);
  const auto* bytes = t.as<std::uint8_t>();
  const std::uint32_t whole = crc32c(bytes, 10'000);
  EXPECT_EQ(crc32c_of_zeros(10'000), crc32c(own.zeros({10'000}, DType::u8).data, 10'000));
  EXPECT_EQ(crc32c_of_zeros(0), crc32c(nullptr, 0));
  std::mt19937 random(3);
  for (int round = 0; round < 20; ++round) {
    std::vector<PartialChecksum> writers(3, PartialChecksum(10'000));
    for (std::int64_t at = 0; at < 10'000;) {
      const auto n = std::min<std::int64_t>(10'000 - at, random() % 1500);
      writers[random() % 3].add(at, bytes + at, n);
      at += n;
    }
    PartialChecksum sum(10'000);
    EXPECT_FALSE(sum.complete());
    for (const PartialChecksum& w : writers) sum.add(w);
    EXPECT_TRUE(sum.complete());
    EXPECT_EQ(sum.crc(), whole);
  }
}

/// Members in threads of one process.
class Threads {
 public:
  explicit Threads(int n) : said_(std::size_t(n)), barrier_(n) {}

  class Member final : public ProcessGroup {
   public:
    Member(Threads& all, int rank) : all_(all), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return int(all_.said_.size()); }
    std::vector<std::string> gather(const std::string& mine) override {
      all_.said_[std::size_t(rank_)] = mine;
      all_.barrier_.arrive_and_wait();
      std::vector<std::string> copy = all_.said_;
      all_.barrier_.arrive_and_wait();
      return copy;
    }

   private:
    Threads& all_;
    int rank_;
  };

  void run(const std::function<void(ProcessGroup&)>& body) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < int(said_.size()); ++rank)
      threads.emplace_back([&, rank] {
        Member member(*this, rank);
        body(member);
      });
    for (std::thread& t : threads) t.join();
  }

 private:
  std::vector<std::string> said_;
  std::barrier<> barrier_;
};

/// Rows [from, from + rows) and columns [col, col + cols) of a matrix, on their own.
Tensor box_of(Tensors& own, const Tensor& t, std::int64_t row, std::int64_t col, std::int64_t rows,
              std::int64_t cols) {
  const Tensor box = own.zeros({rows, cols}, t.dtype);
  const std::int64_t size = size_of(t.dtype);
  for (std::int64_t i = 0; i < rows; ++i)
    std::memcpy(static_cast<char*>(box.data) + i * cols * size,
                static_cast<char*>(t.data) + ((row + i) * t.cols() + col) * size,
                std::size_t(cols * size));
  return box;
}

TEST(SharedFile, HoldsWhatItsWritersWrote) {
  const Folder folder;
  for (const DType type : testing::kEveryType) {
    Tensors own;
    const Tensor matrix = own.random({12, 10}, type), vector = own.random({31}, type),
                 scalar = own.random({}, type), nothing = own.zeros({0, 3}, type);
    const std::vector<SharedFile::Dataset> datasets = {{"/group/matrix", {12, 10}, type},
                                                       {"/group/vector", {31}, type},
                                                       {"/scalar", {}, type},
                                                       {"/nothing", {0, 3}, type}};
    const std::string path = folder / str(name_of(type), ".h5");
    Threads(3).run([&](ProcessGroup& team) {
      Tensors mine;
      SharedFile file(path, {{"answer", std::int64_t{42}}}, datasets, team);
      EXPECT_FALSE(std::filesystem::exists(path));
      const int r = team.rank();
      // Two columns blocks above, whole rows below; the vector in three parts.
      if (r == 0) file.write(0, 0, 0, box_of(mine, matrix, 0, 0, 7, 4));
      if (r == 1) file.write(0, 0, 4, box_of(mine, matrix, 0, 4, 7, 6));
      if (r == 2) file.write(0, 7, 0, box_of(mine, matrix, 7, 0, 5, 10));
      file.write(1, 0, 10 * r, vector.row_range(10 * r, r == 2 ? 11 : 10));
      if (r == 1) file.write(2, 0, 0, scalar);
      if (r == 2) file.write(3, 0, 0, nothing);
      file.commit();
      EXPECT_TRUE(std::filesystem::exists(path));
    });
    const h5::File file = h5::File::open(path);
    EXPECT_EQ(file.int_attribute("answer"), 42);
    for (const auto& [name, expected] :
         {std::pair{"/group/matrix", matrix}, std::pair{"/group/vector", vector},
          std::pair{"/scalar", scalar}, std::pair{"/nothing", nothing}}) {
      const Tensor found = own.zeros(expected.shape, type);
      file.read(name, found);  // and its checksum
      EXPECT_TRUE(same(found, expected)) << name;
    }
    const Tensor box = own.zeros({3, 5}, type);
    file.read_box("/group/matrix", 6, 2, box);
    EXPECT_TRUE(same(box, box_of(own, matrix, 6, 2, 3, 5)));
    const Tensor some = own.zeros({4}, type);
    file.read_box("/group/vector", 0, 20, some);
    EXPECT_TRUE(same(some, vector.row_range(20, 4)));
    EXPECT_TRUE(contains(error_of([&] { file.read_box("/group/matrix", 10, 2, box); }),
                         "/group/matrix: [3,5]"));
  }
}

TEST(SharedFile, WantsEveryElementOnce) {
  const Folder folder;
  Tensors own;
  const Tensor t = own.random({8, 4});
  const auto written = [&](const std::function<void(SharedFile&)>& write) {
    SingleProcess alone;
    SharedFile file(folder / "a.h5", {}, {{"/t", {8, 4}, DType::f32}}, alone);
    write(file);
    file.commit();
  };
  EXPECT_TRUE(contains(error_of([&] { written([](SharedFile&) {}); }),
                       "/t: not every element was written once"));
  EXPECT_TRUE(contains(error_of([&] {
                         written([&](SharedFile& file) {
                           file.write(0, 0, 0, t);
                           file.write(0, 3, 0, t.row_range(3, 1));
                         });
                       }),
                       "/t: not every element was written once"));
  EXPECT_TRUE(
      contains(error_of([&] { written([&](SharedFile& file) { file.write(0, 1, 0, t); }); }),
               "is no part of it"));
  EXPECT_TRUE(folder.files().empty());
  written([&](SharedFile& file) { file.write(0, 0, 0, t); });
  EXPECT_EQ(folder.files(), std::vector<std::string>{"a.h5"});
}

}  // namespace
}  // namespace lacuna
