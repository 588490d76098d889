package loadtest

import "slices"

// sequence says which numbers of a sequence have arrived at a stream, which begins with 0 or with
// the first one that arrives.
type sequence struct {
	begun bool
	next  int    // the lowest number above all that have arrived
	holes []hole // numbers below next that have not arrived, in order; at most mostHoles
	// forgotten is how many missing numbers were in holes that are no longer kept, all below
	// forgottenBelow, without those that may not have been sent. If one of them arrives, it counts as
	// late, and remains missing.
	forgotten, forgottenBelow int
}

// hole has the numbers from first to before end.
type hole struct{ first, end int }

// mostHoles bounds the memory of a sequence.
const mostHoles = 64

// arrival says what a number is to its sequence.
type arrival int

const (
	inOrder arrival = iota
	late            // a higher number has arrived before
	twice           // it has arrived before
)

// add records the arrival of a number. unsure returns the numbers that may not have been sent, in order.
func (q *sequence) add(n int, unsure func() []int) arrival {
	if !q.begun {
		q.begun, q.next = true, n
	}
	if n >= q.next {
		if n > q.next {
			q.addHole(hole{q.next, n}, unsure)
		}
		q.next = n + 1
		return inOrder
	}
	for i, h := range q.holes {
		if n < h.first || n >= h.end {
			continue
		}
		var rest []hole
		if h.first < n {
			rest = append(rest, hole{h.first, n})
		}
		if n+1 < h.end {
			rest = append(rest, hole{n + 1, h.end})
		}
		q.holes = slices.Replace(q.holes, i, i+1, rest...)
		q.trim(unsure)
		return late
	}
	if n < q.forgottenBelow {
		return late
	}
	return twice
}

func (q *sequence) addHole(h hole, unsure func() []int) {
	q.holes = append(q.holes, h)
	q.trim(unsure)
}

// trim forgets the oldest hole if there are too many.
func (q *sequence) trim(unsure func() []int) {
	if len(q.holes) > mostHoles {
		q.forgotten += q.holes[0].without(unsure())
		q.forgottenBelow = q.holes[0].end
		q.holes = slices.Delete(q.holes, 0, 1)
	}
}

// missing returns how many of the numbers below sent have not arrived, without those in unsure,
// which may not have been sent. unsure is in order.
func (q *sequence) missing(sent int, unsure []int) int {
	n := q.forgotten + (hole{q.next, max(sent, q.next)}).without(unsure)
	for _, h := range q.holes {
		n += h.without(unsure)
	}
	return n
}

// without returns how many numbers of the hole are not in unsure.
func (h hole) without(unsure []int) int {
	first, _ := slices.BinarySearch(unsure, h.first)
	end, _ := slices.BinarySearch(unsure, h.end)
	return h.end - h.first - (end - first)
}
