#include "formats/hdf5.h"

#include "tests/checkpoint/support.h"
#include "tests/support/paths.h"

namespace lacuna {
namespace {

using testing::contains;
using testing::error_of;
using testing::Folder;
using testing::same;
using testing::Tensors;

Tensor read(const h5::File& file, const std::string& dataset, Tensors& own) {
  const Tensor t = own.zeros(file.shape(dataset), file.dtype(dataset));
  file.read(dataset, t);
  return t;
}

TEST(Hdf5, every_type_and_rank_reads_back_bit_for_bit) {
  const Folder folder;
  Tensors own;
  const Shape shapes[] = {{}, {1}, {7}, {2, 3}, {0}, {0, 5}, {3, 0}, {2, 3, 4}, {2, 1, 3, 2}};
  std::vector<std::pair<std::string, Tensor>> written;
  {
    h5::FileWriter file(folder / "a.h5");
    for (const DType dtype : testing::kEveryType)
      for (const Shape& shape : shapes) {
        written.emplace_back(str("/group/", dtype, "/", shape), own.random(shape, dtype));
        file.write(written.back().first, written.back().second);
      }
    file.close();
  }
  const h5::File file = h5::File::open(folder / "a.h5");
  for (const auto& [name, t] : written) {
    EXPECT_TRUE(same(read(file, name, own), t)) << name;
    EXPECT_EQ(error_of([&, &n = name] { file.verify(n); }), "");
    EXPECT_TRUE(file.is_dataset(name));
  }
  EXPECT_EQ(file.list("/"), std::vector<std::string>{"group"});
  EXPECT_EQ(file.list("/group"),
            (std::vector<std::string>{"bf16", "f16", "f32", "f64", "i32", "i64", "u8"}));
}

TEST(Hdf5, attributes) {
  const Folder folder;
  const std::string megabytes(3'000'000, 'z');
  {
    h5::FileWriter file(folder / "a.h5");
    file.set_attribute("text", "in\nlines, with \xc3\xa9");
    file.set_attribute("empty", "");
    file.set_attribute("large", megabytes);
    file.set_attribute("invalid utf-8", "\xff\xfe");
    file.set_attribute("most", std::numeric_limits<std::int64_t>::max());
    file.set_attribute("least", std::numeric_limits<std::int64_t>::min());
    file.set_attribute("fraction", 0.1);
    file.set_attribute("replaced", "a longer text");
    file.set_attribute("replaced", 3);
    EXPECT_TRUE(contains(error_of([&] { file.set_attribute("nul", std::string("a\0b", 3)); }),
                         "attribute nul"));
    file.close();
  }
  const h5::File file = h5::File::open(folder / "a.h5");
  EXPECT_EQ(file.string_attribute("text"), "in\nlines, with \xc3\xa9");
  EXPECT_EQ(file.string_attribute("empty"), "");
  EXPECT_EQ(file.string_attribute("large"), megabytes);
  EXPECT_EQ(file.string_attribute("invalid utf-8"), "\xff\xfe");
  EXPECT_EQ(file.int_attribute("most"), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(file.int_attribute("least"), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(std::get<double>(file.attribute("/", "fraction")), 0.1);
  EXPECT_EQ(file.int_attribute("replaced"), 3);
  EXPECT_FALSE(file.has_attribute("nul"));
  EXPECT_EQ(file.attribute_names(),
            (std::vector<std::string>{"attributes_crc32c", "empty", "fraction", "invalid utf-8",
                                      "large", "least", "most", "replaced", "text"}));
  const std::string name = folder / "a.h5";
  EXPECT_EQ(error_of([&] { file.int_attribute("missing"); }),
            name + ": has no attribute 'missing'");
  EXPECT_EQ(error_of([&] { file.int_attribute("text"); }),
            name + ": /: attribute text: is not an integer");
  EXPECT_EQ(error_of([&] { file.string_attribute("most"); }),
            name + ": /: attribute most: is a number, not text");
}

TEST(Hdf5, rows_in_any_order_and_cut) {
  const Folder folder;
  Tensors own;
  const Tensor whole = own.random({10, 3}, DType::f32);
  {
    h5::FileWriter file(folder / "a.h5");
    file.create("x", {10, 3}, DType::f32);
    file.write_rows("x", 7, whole.row_range(7, 3));
    file.write_rows("x", 0, whole.row_range(0, 4));
    file.write_rows("x", 4, whole.row_range(4, 0));
    file.write_rows("x", 4, whole.row_range(4, 3));
    file.close();
  }
  const h5::File file = h5::File::open(folder / "a.h5");
  EXPECT_TRUE(same(read(file, "x", own), whole));
  const Tensor part = own.zeros({2, 3});
  file.read_rows("x", 5, part);
  EXPECT_TRUE(same(part, whole.row_range(5, 2)));
  for (const std::int64_t first : {-1, 9, 100})
    EXPECT_TRUE(contains(error_of([&] { file.read_rows("x", first, part); }), ": /x: rows"))
        << first;
}

TEST(Hdf5, rows_never_written_or_twice_are_noticed) {
  const Folder folder;
  Tensors own;
  {
    h5::FileWriter twice(folder / "b.h5");
    twice.create("x", {10}, DType::f32);
    twice.write_rows("x", 0, own.random({9}));
    twice.write_rows("x", 8, own.random({2}));
    EXPECT_EQ(error_of([&] { twice.close(); }),
              folder / "b.h5" + ": /x: some of its rows were written twice");
  }
  h5::FileWriter file(folder / "a.h5");
  file.create("x", {10}, DType::f32);
  file.write_rows("x", 0, own.random({9}));
  EXPECT_EQ(error_of([&] { file.close(); }),
            folder / "a.h5" + ": /x: some of its rows were never written");
}

TEST(Hdf5, a_vector_grows) {
  const Folder folder;
  Tensors own;
  const Tensor whole = own.random({200'000}, DType::i32);
  {
    h5::FileWriter file(folder / "a.h5");
    file.create("x", {0}, DType::i32, true);
    file.create("empty", {0}, DType::i32, true);
    for (std::int64_t from = 0, n = 1; from < whole.count(); from += n, n = 3 * n + 1)
      file.append("x", whole.row_range(from, std::min(n, whole.count() - from)));
    file.close();
  }
  const h5::File file = h5::File::open(folder / "a.h5");
  EXPECT_TRUE(same(read(file, "x", own), whole));
  EXPECT_EQ(file.shape("empty"), Shape{0});
  EXPECT_EQ(error_of([&] { file.verify("empty"); }), "");
}

TEST(Hdf5, misuse) {
  const Folder folder;
  Tensors own;
  h5::FileWriter file(folder / "a.h5");
  const std::string name = folder / "a.h5";
  file.write("x", own.zeros({4, 4}));
  EXPECT_NE(error_of([&] { file.write("x", own.zeros({4, 4})); }), "");
  EXPECT_EQ(error_of([&] {
              file.write_rows("x", 0, own.zeros({1, 4}));
            }),
            name + ": /x: was not created, or is sealed");
  EXPECT_TRUE(contains(error_of([&] {
                         file.write("y", own.zeros({4, 4}).column_range(0, 2));
                       }),
                       "contiguous"));
  EXPECT_TRUE(contains(error_of([&] { file.append("y", own.zeros({4, 2})); }), "/y: rows 4 to 8"));
  file.write_rows("y", 0, own.zeros({4, 2}));
  file.close();
}

TEST(Hdf5, misuse_of_a_reader) {
  const Folder folder;
  Tensors own;
  {
    h5::FileWriter writer(folder / "a.h5");
    writer.write("x", own.zeros({4, 4}));
    writer.close();
  }
  const h5::File file = h5::File::open(folder / "a.h5");
  EXPECT_TRUE(contains(error_of([&] {
                         file.read("x", own.zeros({4, 5}));
                       }),
                       "/x: has shape [4,4], not [4,5]"));
  EXPECT_TRUE(contains(error_of([&] {
                         file.read("x", own.zeros({4, 4}, DType::i32));
                       }),
                       "/x: holds f32 elements, not i32"));
  EXPECT_NE(error_of([&] { file.shape("missing"); }), "");
  EXPECT_NE(error_of([&] { file.shape("/missing/deep"); }), "");
  EXPECT_FALSE(file.exists("/missing/deep"));
  EXPECT_FALSE(file.is_dataset("/"));
  EXPECT_FALSE(file.exists("/x/deeper"));
}

TEST(Hdf5, what_cannot_be_opened) {
  const Folder folder;
  const auto open = [&](const std::string& path) {
    return error_of([&] { h5::File::open(path); });
  };
  EXPECT_EQ(open(folder / "missing.h5"), folder / "missing.h5" + ": No such file or directory");
  EXPECT_EQ(open(folder / "."), folder / "." + ": is a folder, not a file");
  EXPECT_EQ(open("/dev/null"), "/dev/null: is not a regular file");
  EXPECT_EQ(open(folder.write("empty.h5", "")), folder / "empty.h5" + ": is empty");
  EXPECT_EQ(open(folder.write("text.h5", std::string(5000, 'a'))),
            folder / "text.h5" + ": is not an HDF5 file");
  EXPECT_EQ(error_of([&] { h5::FileWriter(folder / "no/such/folder.h5"); }),
            folder / "no/such/folder.h5" + ": cannot write: No such file or directory");
}

TEST(Hdf5, files_of_other_programs) {
  const h5::File file = h5::File::open(testing::golden_path("hdf5_foreign.h5"));
  EXPECT_EQ(file.string_attribute("text"), "h5py's strings are of variable length: \xc3\xa9");
  EXPECT_EQ(file.string_attribute("fixed"), "fixed");
  EXPECT_EQ(file.int_attribute("small"), -5);
  EXPECT_EQ(std::get<double>(file.attribute("/", "number")), 0.5);
  EXPECT_TRUE(contains(error_of([&] { file.int_attribute("list"); }), "is not a single value"));

  Tensors own;
  const Tensor plain = own.zeros({2, 3});
  file.read_rows("plain", 0, plain);
  EXPECT_TRUE(same(plain, own.of<float>({2, 3}, {0, 1, 2, 3, 4, 5})));
  EXPECT_TRUE(contains(error_of([&] { file.shape("packed"); }),
                       "/packed: is stored through filters, which are not read here"));
  EXPECT_EQ(file.dtype("half"), DType::f16);
  EXPECT_TRUE(contains(error_of([&] { file.read("plain", plain); }), "/plain: has no checksum"));
  for (const char* other : {"big_endian", "int8", "complex"})
    EXPECT_TRUE(contains(error_of([&] { file.dtype(other); }),
                         "has an element type other than f32, f64, bf16, f16, i32, i64, u8"));
  EXPECT_TRUE(contains(error_of([&] { file.shape("five"); }), "has 5 extents"));
  EXPECT_FALSE(file.is_dataset("/dangling"));
}

}  // namespace
}  // namespace lacuna
