package gridloom_test

import (
	"fmt"
	"testing"

	"github.com/gridloom/gridloom"
)

// TestPartitionOfIsFrozen pins the hash: a change would look for a meter's history
// in another partition than the one that has it.
func TestPartitionOfIsFrozen(t *testing.T) {
	counts := []int{1, 4, 64, 1<<31 - 1}
	f := func(meter string, want ...int) {
		t.Helper()
		for i, n := range counts {
			if got := gridloom.PartitionOf(meter, n); got != want[i] {
				t.Errorf("PartitionOf(%q, %d) = %d, want %d", meter, n, got, want[i])
			}
		}
	}
	f("", 0, 2, 38, 439969771)
	f("m1", 0, 3, 51, 668581072)
	f("m2", 0, 0, 24, 1165759552)
	f("m-000037", 0, 0, 40, 391174776)
	f("MAC000002", 0, 0, 56, 317186152)
	f("MAC000003", 0, 0, 48, 1998341119)
	f("MAC000051", 0, 2, 34, 588064501)
	f("DE0001234567890123456789012345678", 0, 0, 24, 870827035)
	f("zähler-7", 0, 2, 6, 2027820610)
	f("電力計", 0, 2, 22, 1995105878)
}

// TestPartitionsAreEven counts ids that differ in their last digits only: no
// partition is to hold a tenth more or less than its share of 1,000.
func TestPartitionsAreEven(t *testing.T) {
	const partitions, share = 64, 1000
	var held [partitions]int
	for i := range partitions * share {
		held[gridloom.PartitionOf(fmt.Sprintf("m-%06d", i), partitions)]++
	}
	for p, n := range held {
		if n < share*9/10 || n > share*11/10 {
			t.Errorf("partition %d holds %d of %d ids, want about %d", p, n, partitions*share, share)
		}
	}
}

func TestPartitionOfDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _ = gridloom.PartitionOf("DE0001234567890123456789012345678", 64) }); n != 0 {
		t.Errorf("PartitionOf allocates %v times", n)
	}
}
