#pragma once

namespace lacuna {

// How often to save. A checkpoint stalls training for `cost` seconds; failures
// come at random, `between` seconds apart on average, and each undoes what was done since the last
// checkpoint, half an interval on average.

/// The interval at which that loses least, in seconds of training between two checkpoints:
/// sqrt(2 cost between) (Young, "A first order approximation to the optimum checkpoint interval",
/// CACM 17(9), 1974). Good while the cost is far below `between`.
double best_save_interval(double cost, double between);
/// The share of the time that is lost at an interval, to first order: cost / interval + interval /
/// (2 between).
double lost_to_saving(double interval, double cost, double between);

}  // namespace lacuna
