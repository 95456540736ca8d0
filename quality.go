package gridloom

import (
	"fmt"
	"math/bits"
	"strings"
)

// Quality is a set of bits that say in which way a reading or a pane is less
// than perfect. 0 is a good, measured value. Bit numbers are frozen: they stand
// in every frame and segment (docs/format/segment.md).
type Quality uint32

// The quality bits.
const (
	Suspect         Quality = 1 << iota // not plausible, held and not counted
	EstimatedLinear                     // interpolated between two readings within the bridging limit
	EstimatedLikeDay
	Edited
	Derived      // from a register difference, or the share of an interval
	CatchUp      // holds the energy of a longer gap before it
	Missing      // part of the window is not covered by readings
	Outage       // the meter was without power
	Reset        // the register started again from zero
	Rollover     // the register wrapped
	Exchange     // the device was exchanged
	Glitch       // a sample was set aside
	ClockSuspect // the device's clock was not known to be right
	TimeAmbiguous
	Late       // a reading in it was logged after its end + lateness
	Historical // its first reading was
	Range      // outside what the register or connection can carry
	SumCheck
	Spike
	HighLow
	Stuck
	Test       // a reading made for testing
	numQuality = iota
)

var qualityNames = [numQuality]string{
	"SUSPECT", "ESTIMATED_LINEAR", "ESTIMATED_LIKEDAY", "EDITED", "DERIVED", "CATCHUP", "MISSING", "OUTAGE", "RESET",
	"ROLLOVER", "EXCHANGE", "GLITCH", "CLOCK_SUSPECT", "TIME_AMBIGUOUS", "LATE", "HISTORICAL", "RANGE", "SUM_CHECK",
	"SPIKE", "HIGH_LOW", "STUCK", "TEST",
}

// DeviceQuality are the bits that a device may set on a reading itself; gridloom decides the others.
const DeviceQuality = Suspect | EstimatedLinear | EstimatedLikeDay | Derived | Outage | ClockSuspect | TimeAmbiguous | Test

// Names returns the names of the set bits in bit order; unknown bits appear as BIT_n.
func (q Quality) Names() []string {
	names := make([]string, 0, bits.OnesCount32(uint32(q)))
	for b := range 32 {
		switch {
		case q&(1<<b) == 0:
		case b < numQuality:
			names = append(names, qualityNames[b])
		default:
			names = append(names, fmt.Sprintf("BIT_%d", b))
		}
	}
	return names
}

// String joins the names of the set bits with "|"; 0 is "".
func (q Quality) String() string { return strings.Join(q.Names(), "|") }

// ParseQuality returns the bit of a name as Names gives it, or ErrInvalid.
func ParseQuality(name string) (Quality, error) {
	for b, n := range qualityNames {
		if n == name {
			return 1 << b, nil
		}
	}
	return 0, fmt.Errorf("%w: quality %q is not one of %s", ErrInvalid, name, strings.Join(qualityNames[:], ", "))
}
