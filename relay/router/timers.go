package router

import (
	"container/heap"
	"time"
)

// timers are functions to call later. Step compares their times with the time that is passed to it.
type timers []timer

type timer struct {
	at time.Time
	do func()
}

// due calls the functions that have come due.
func (t *timers) due(now time.Time) {
	for len(*t) > 0 && !(*t)[0].at.After(now) {
		heap.Pop(t).(timer).do()
	}
}

// Router.after makes Step call the given function when the duration d has passed. If d is 0 or
// less, Step calls the function in the present step. But the jobs of a step come after its timers.
// So if a job calls Router.after, Step calls the function in the next step at the earliest. The
// function must check whether its work is still wanted.
func (r *Router) after(d time.Duration, do func()) {
	heap.Push(&r.later, timer{r.now.Add(d), do})
}

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	(*t)[last] = timer{}
	*t = (*t)[:last]
	return x
}
