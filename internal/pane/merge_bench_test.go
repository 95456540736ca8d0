package pane

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
)

// memoryStore is a blob.Store for benchmarks: what is measured is not the disk.
type memoryStore struct {
	blob.Store
	files map[string][]byte
}

func (m *memoryStore) Put(_ context.Context, path string, data []byte) error {
	m.files[path] = append([]byte(nil), data...)
	return nil
}

func (m *memoryStore) Get(_ context.Context, path string) ([]byte, error) { return m.files[path], nil }

// fleet makes the readings of one partition commit by commit.
type fleet func(add func(commit int, r gridloom.Reading)) (commits int)

var fleetRegisters = [...]string{"energy_import", "power_import", "voltage_l1"}

// loadFleet is what a quarter of gridbench load looks like: 100 connections that send as
// fast as they are answered, one message of 100 objects after the other, values of which
// power and voltage are noise of 20 and 14 bits.
func loadFleet(add func(commit int, r gridloom.Reading)) int {
	const connections, meters, commits, messages = 100, 25, 16, 33
	rng := rand.New(rand.NewPCG(7, 7))
	ids := registerIDs(fleetRegisters[:])
	at := make([]gridloom.Millis, connections)
	sequence, place := uint64(1000), uint32(0)
	for commit := range commits {
		for m := range messages {
			now := noon + gridloom.Millis(commit*messages+m)*20
			for c := range connections {
				if place >= 4000 {
					sequence, place = sequence+1, 0
				}
				at[c] = max(at[c]+1, now+gridloom.Millis(rng.IntN(10)))
				for k := range meters {
					meter := c + 100*k
					h := (uint64(at[c]) + uint64(meter)<<20) * 0x9e3779b97f4a7c15
					values := [...]int64{int64(at[c]-noon)/100 + 5e9 + int64(meter%1000)*1000, 100_000 + int64(h>>40%900_000), 220_000 + int64(h>>20%20_000)}
					for i, id := range ids {
						add(commit, gridloom.Reading{
							Meter: fmt.Sprintf("m%07d", meter), Register: id, Start: at[c], Value: values[i],
							Order: gridloom.NewOrder(gridloom.ClassDevice, 200_000_000, uint32(1<<21+commit*messages+m)), Agent: fmt.Sprintf("load-%d", c),
							Sequence: sequence, Place: place, LoggedAt: now + gridloom.Millis(sequence%7),
						})
						place++
					}
				}
			}
		}
	}
	return commits
}

// meterFleet is a day of 1,000 meters that ten gateways read every quarter of an hour:
// energy in Wh, power in W that follows the hour, voltage in tenths of a volt.
func meterFleet(add func(commit int, r gridloom.Reading)) int {
	const gateways, meters, quarters, perCommit = 10, 100, 96, 4
	rng := rand.New(rand.NewPCG(8, 8))
	ids := registerIDs(fleetRegisters[:])
	energy := make([]int64, gateways*meters)
	sequence := uint64(1)
	for q := range quarters {
		start := noon + gridloom.Millis(q)*15*gridloom.Minute
		for g := range gateways {
			sequence += uint64(1 + rng.IntN(2)) // ticks lie between
			logged := start + gridloom.Millis(2000+rng.IntN(3000))
			place := uint32(0)
			for k := range meters {
				m := g*meters + k
				watts := int64(100+rng.ExpFloat64()*300) * int64(1+q/24)
				energy[m] += watts / 4
				for i, v := range [...]int64{(5e6 + int64(m)*1777 + energy[m]) * 1000, watts * 1000, (2300 + int64(rng.NormFloat64()*20)) * 100} {
					add(q/perCommit, gridloom.Reading{
						Meter: fmt.Sprintf("DE00056%09d", 4711+m*13), Register: ids[i], Start: start, Value: v,
						Order: gridloom.NewOrder(gridloom.ClassDevice, 200_000_000, uint32(q)), Agent: fmt.Sprintf("gw-%d", g),
						Serial: fmt.Sprintf("1EMH%010d", 815+m*7), Sequence: sequence, Place: place, LoggedAt: logged,
					})
					place++
				}
			}
		}
	}
	return quarters / perCommit
}

func registerIDs(names []string) []gridloom.RegisterID {
	ids := make([]gridloom.RegisterID, len(names))
	for i, name := range names {
		ids[i], _ = gridloom.RegisterByName(name)
	}
	return ids
}

// writeFleet stores a fleet's commits.
func writeFleet(tb testing.TB, s *Store, f fleet) (inputs []Segment, rows int) {
	tb.Helper()
	var commits [][]gridloom.Reading
	n := f(func(commit int, r gridloom.Reading) {
		for len(commits) <= commit {
			commits = append(commits, nil)
		}
		commits[commit] = append(commits[commit], r)
		rows++
	})
	for _, c := range commits[:n] {
		seg, err := s.WriteRaw(tb.Context(), where, c)
		if err != nil {
			tb.Fatal(err)
		}
		inputs = append(inputs, seg)
	}
	return inputs, rows
}

// BenchmarkMerge merges the commits of one partition into one segment.
func BenchmarkMerge(b *testing.B) {
	for _, f := range []struct {
		name string
		make fleet
	}{{"load", loadFleet}, {"meters", meterFleet}} {
		b.Run(f.name, func(b *testing.B) {
			m := &memoryStore{files: map[string][]byte{}}
			s := NewStore(m, StoreOptions{CacheBytes: -1})
			inputs, rows := writeFleet(b, s, f.make)
			var merged []Segment
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				var err error
				if merged, err = s.Merge(b.Context(), where, KindRaw, inputs, 1); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				for _, seg := range merged[:len(merged)-1] {
					delete(m.files, seg.Path)
				}
				b.StartTimer()
			}
			perRow(b, rows, before)
			bytes := int64(0)
			for _, seg := range merged {
				bytes += seg.Bytes
			}
			b.ReportMetric(float64(bytes)/float64(rows), "B/row")
		})
	}
}

// cpuTime is what the process has used of its processors: unlike the clock it does not
// count what others on the machine do.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReadMergedRaw reads one meter's day, and all readings, out of the merged day of
// 1,000 meters that each report at a second of their own.
func BenchmarkReadMergedRaw(b *testing.B) {
	s := NewStore(&memoryStore{files: map[string][]byte{}}, StoreOptions{CacheBytes: 1 << 30})
	rows := dayOfMeters()
	seg, err := s.WriteRaw(b.Context(), where, rows)
	if err != nil {
		b.Fatal(err)
	}
	merged, err := s.Merge(b.Context(), where, KindRaw, []Segment{seg}, 2)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		sel  Selector
		want int
	}{{"meter", Selector{Meters: []string{rows[len(rows)/2].Meter}}, 288}, {"all", Selector{}, len(rows)}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				n := 0
				if err := s.ReadRaw(b.Context(), merged[0], c.sel, func(*gridloom.Reading) error { n++; return nil }); err != nil || n != c.want {
					b.Fatal(n, err)
				}
			}
			perRow(b, c.want, before)
		})
	}
}
