#include "training/save_interval.h"

#include <cmath>

namespace lacuna {

double best_save_interval(double cost, double between) { return std::sqrt(2 * cost * between); }

double lost_to_saving(double interval, double cost, double between) {
  return cost / interval + interval / (2 * between);
}

}  // namespace lacuna
