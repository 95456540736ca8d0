package wire

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// readings returns the rows of c.
func readings(c *Columns) []gridloom.Reading {
	var rs []gridloom.Reading
	for i := range c.Len() {
		rs = append(rs, c.Reading(i))
	}
	return rs
}

// objects returns count objects of energy, power and voltage from meters meters in
// turn, sent by 10 agents in batches of 100, as a Columns.
func objects(count, meters int) *Columns {
	rng := rand.New(rand.NewPCG(1, 2))
	var c Columns
	c.Reset()
	ids := make([]gridloom.RegisterID, 3)
	for i, n := range []string{"energy_import", "power_import", "voltage_l1"} {
		ids[i], _ = gridloom.RegisterByName(n)
	}
	for k := range count {
		m := k % meters
		r := gridloom.Reading{
			Meter: fmt.Sprintf("m-%06d", m*37), Start: 1_795_383_300_000 + gridloom.Millis(k/meters)*10_000 + gridloom.Millis(rng.IntN(10_000)),
			Agent: fmt.Sprintf("gw-%d", m%10),
			Order: gridloom.NewOrder(gridloom.ClassDevice, 217_000_000, uint32(k/100)),
		}
		for i, v := range []int64{int64(m)*7_000_000_000 + int64(k)*1_234, rng.Int64N(3_000_000), 225_000 + rng.Int64N(10_000)} {
			r.Register, r.Value = ids[i], v
			c.AppendReading(&r)
		}
	}
	return &c
}

func TestFrameReturnsItsRows(t *testing.T) {
	c := objects(1000, 100)
	info := FrameInfo{Kind: KindReadings, Generation: 7, Partition: 3}
	data := AppendFrame(nil, info, c)
	var got Columns
	gotInfo, err := DecodeFrame(data, &got)
	if err != nil {
		t.Fatal(err)
	}
	info.Readings = c.Len()
	if d := cmp.Diff(info, gotInfo); d != "" {
		t.Errorf("info (-want +got):\n%s", d)
	}
	if d := cmp.Diff(readings(c), readings(&got)); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
}
