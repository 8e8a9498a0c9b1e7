#include "formats/hdf5_detail.h"

#include <vector>

namespace lacuna::h5 {
namespace {

herr_t keep_innermost(unsigned n, const H5E_error2_t* error, void* out) {
  if (n == 0) *static_cast<std::string*>(out) = error->desc ? error->desc : "";
  return 0;
}

/// A little-endian float: sign in the top bit, then exponent, then mantissa.
hid_t small_float(std::size_t exponent_bits, std::size_t mantissa_bits, std::size_t bias) {
  const hid_t type = check(H5Tcopy(H5T_IEEE_F32LE), "HDF5 type");
  check(H5Tset_fields(type, 15, mantissa_bits, exponent_bits, 0, mantissa_bits), "HDF5 type");
  check(H5Tset_ebias(type, bias), "HDF5 type");
  check(H5Tset_precision(type, 16), "HDF5 type");
  check(H5Tset_size(type, 2), "HDF5 type");
  return type;  // for the life of the program
}

}  // namespace

std::string reason() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &text);
  H5Eclear2(H5E_DEFAULT);
  return text.empty() ? "HDF5 gave no reason" : text;
}

hid_t type_of(DType dtype) {
  static const hid_t bf16 = small_float(8, 7, 127);
  static const hid_t f16 = small_float(5, 10, 15);
  switch (dtype) {
    case DType::f32:
      return H5T_IEEE_F32LE;
    case DType::f64:
      return H5T_IEEE_F64LE;
    case DType::bf16:
      return bf16;
    case DType::f16:
      return f16;
    case DType::i32:
      return H5T_STD_I32LE;
    case DType::i64:
      return H5T_STD_I64LE;
    case DType::u8:
      return H5T_STD_U8LE;
    case DType::u16:
      return H5T_STD_U16LE;
    case DType::e4m3:
    case DType::e5m2:
      break;  // nothing is stored in them
  }
  fail("unknown dtype");
}

}  // namespace lacuna::h5
