package loadtest

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// allSent says that all numbers were sent.
func allSent() []int { return nil }

func addAll(q *sequence, numbers ...int) (got []arrival) {
	for _, n := range numbers {
		got = append(got, q.add(n, allSent))
	}
	return got
}

func TestSequenceTellsLateFromTwice(t *testing.T) {
	t.Parallel()
	q := sequence{begun: true}
	got := addAll(&q, 0, 1, 5, 3, 3, 1, 2, 4, 4, 6)
	want := []arrival{inOrder, inOrder, inOrder, late, twice, twice, late, late, twice, inOrder}
	if !slices.Equal(got, want) || q.missing(7, nil) != 0 {
		t.Errorf("%v, %d missing", got, q.missing(7, nil))
	}
}

func TestSequenceCountsWhatIsMissing(t *testing.T) {
	t.Parallel()
	q := sequence{begun: true}
	addAll(&q, 1, 4, 5)
	for _, test := range []struct {
		sent   int
		unsure []int
		want   int
	}{
		{6, nil, 3}, // 0, 2, 3
		{9, nil, 6}, // and 6, 7, 8
		{9, []int{2, 5, 8}, 4},
		{0, nil, 3},
	} {
		if got := q.missing(test.sent, test.unsure); got != test.want {
			t.Errorf("of %d without %v: %d, want %d", test.sent, test.unsure, got, test.want)
		}
	}
	whole := sequence{begun: true}
	if got := whole.missing(5, nil); got != 5 {
		t.Errorf("nothing has arrived: %d missing", got)
	}
}

func TestSequenceBeginsWithTheFirstNumberOfALateStream(t *testing.T) {
	t.Parallel()
	var q sequence
	addAll(&q, 7, 8)
	if got := q.missing(10, nil); got != 1 {
		t.Errorf("%d missing", got)
	}
}

func TestSequenceAgreesWithASet(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		q, seen, highest := sequence{begun: true}, map[int]bool{}, -1
		for range 200 {
			n := random.IntN(100) // few enough holes that none is forgotten
			want := inOrder
			switch {
			case seen[n]:
				want = twice
			case n < highest:
				want = late
			}
			if got := q.add(n, allSent); got != want {
				t.Fatalf("%d is %v, want %v", n, got, want)
			}
			seen[n], highest = true, max(highest, n)
		}
		if got := q.missing(100, nil); got != 100-len(seen) {
			t.Fatalf("%d missing, want %d", got, 100-len(seen))
		}
	}
}

func TestSequenceForgetsHolesButNotTheLoss(t *testing.T) {
	t.Parallel()
	q := sequence{begun: true}
	const pairs = 1000
	for i := range pairs {
		q.add(2*i+1, allSent)
	}
	if len(q.holes) > mostHoles || q.missing(2*pairs, nil) != pairs {
		t.Errorf("%d holes, %d missing", len(q.holes), q.missing(2*pairs, nil))
	}
	if got := q.add(0, allSent); got != late {
		t.Errorf("a forgotten number is %v", got)
	}
}
