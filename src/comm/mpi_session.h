#pragma once

namespace lacuna {

/// MPI, for as long as this object lives. Initialised only when a launcher (mpirun, srun) started
/// the process: a plain run is one rank and touches no MPI.
class MpiSession {
 public:
  MpiSession();
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  int rank() const { return rank_; }
  int size() const { return size_; }

 private:
  bool initialised_ = false;
  int rank_ = 0, size_ = 1;
};

}  // namespace lacuna
