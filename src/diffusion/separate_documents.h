#pragma once
#include <span>

#include "core/row_documents.h"
#include "diffusion/noise.h"

namespace lacuna {

/// Makes each document of a batch's sequences, which have batch.length tokens each, a sequence of
/// its own: attention stays within it, and positions begin at 0. `documents` says where they begin,
/// of each sequence, or of each batch.views of them that are views of the same tokens; what lies
/// beyond batch.length is cut, and padding is left out. What each token is masked by is as it was.
/// Where the next token is predicted, a document's first token is given; weights are those of a
/// mean over the tokens that are left to predict. `first_sample`: the first one's global number.
/// Not for block diffusion.
///
/// Returns, for each new sequence, which of `documents` it is a part of.
std::vector<std::int64_t> separate_documents(const NoiseOptions& options,
                                             std::span<const RowDocuments> documents,
                                             std::int64_t first_sample, LossBatch& batch);

}  // namespace lacuna
