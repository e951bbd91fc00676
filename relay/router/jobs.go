package router

// job is work on an edge, done piece by piece, so that no step takes long.
type job interface {
	// Each call of do carries out the given number of pieces of the job, or fewer if that finishes
	// the job. The number is above 0. The first result is the number of pieces that were not
	// needed.
	do(r *Router, pieces int) (left int, done bool)
}

// work does at most Config.Pieces pieces of the oldest jobs. A job begins when the one before it is
// done.
func (r *Router) work() {
	left, done := r.cfg.Pieces, false
	for len(r.jobs) > 0 && left > 0 {
		if left, done = r.jobs[0].do(r, left); done {
			r.jobs[0] = nil
			r.jobs = r.jobs[1:]
		}
	}
	if len(r.jobs) == 0 {
		r.jobs = nil
	}
}

// Busy reports whether unfinished jobs need another Step. It must be called by the caller of Step.
func (r *Router) Busy() bool { return len(r.jobs) > 0 }

// forgetting is the job that drops the followers of an edge that is gone.
type forgetting struct{ edge *edge }

func (j *forgetting) do(r *Router, pieces int) (left int, done bool) {
	e := j.edge
	for ; pieces > 0; pieces-- {
		if len(e.followers) == 0 {
			// A topic's first follower is stored in the topic, and may keep the edge in memory. So
			// the edge's list of followers is freed here.
			e.followers = nil
			return pieces, true
		}
		r.dropFollower(e.followers[len(e.followers)-1])
	}
	return pieces, false
}
