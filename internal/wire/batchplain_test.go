package wire

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// TestPlainSeriesDecodeAsAllOthersDo: a field that nobody knows keeps a series from
// the quick way and changes nothing, whatever is right or wrong in it.
func TestPlainSeriesDecodeAsAllOthersDo(t *testing.T) {
	const now = gridloom.Millis(1_795_378_500_000)
	rng := rand.New(rand.NewPCG(11, 12))
	oneIn := func(n int) bool { return rng.IntN(n) == 0 }
	plain := 0
	for range 2000 {
		var quick, slow []byte
		for _, head := range [][]byte{text(batchAgent, "gw-1"), num(batchEpoch, 7), num(batchSeq, 3)} {
			quick, slow = append(quick, head...), append(slow, head...)
		}
		for range 1 + rng.IntN(12) {
			var s [][]byte
			if oneIn(2) {
				s = append(s, text(seriesMeter, []string{"m1", "m2", "zähler", "", "a\x00"}[min(4, rng.IntN(12)%5)]))
			}
			if !oneIn(15) {
				s = append(s, text(seriesRegister, []string{"energy_import", "1-0:1.7.0", "1-0:32.7.0", "power", "energy_import_interval", "energy"}[rng.IntN(6)]))
			}
			if oneIn(2) {
				s = append(s, num(seriesBase, zigzag(int64([]gridloom.Millis{now, now - 5, 17, now + gridloom.Day}[min(3, rng.IntN(9)%4)]))))
			}
			if oneIn(8) {
				s = append(s, list(seriesAt, 10_000))
			}
			switch rng.IntN(12) {
			case 0:
				s = append(s, list(seriesValue, 5, 6))
			case 1:
				s = append(s, list(seriesValue, gridloom.MaxValue+1))
			case 2:
				s = append(s, num(seriesValue, 4))
			case 3:
			default:
				s = append(s, list(seriesValue, rng.Int64N(1<<40)-1<<39))
			}
			if oneIn(20) {
				rng.Shuffle(len(s), func(i, k int) { s[i], s[k] = s[k], s[i] })
			}
			quick = append(quick, series(s...)...)
			slow = append(slow, series(append(slices.Clone(s), text(99, "later"))...)...)
		}
		wantBatch, want, wantBad, wantErr := decodeBatch(slow, now)
		b, rows, bads, err := decodeBatch(quick, now)
		if err != nil || wantErr != nil {
			t.Fatalf("DecodeBatch(% x) = %v, %v", quick, err, wantErr)
		}
		if d := cmp.Diff(want, rows); d != "" {
			t.Fatalf("rows (-slow +quick):\n%s", d)
		}
		if d := cmp.Diff(wantBad, bads); d != "" {
			t.Fatalf("refusals (-slow +quick):\n%s", d)
		}
		if b.Objects != wantBatch.Objects || b.Columns.Len() != len(rows) {
			t.Fatalf("%d objects, want %d; %d rows, want %d", b.Objects, wantBatch.Objects, b.Columns.Len(), len(rows))
		}
		plain += len(rows)
	}
	if plain < 1000 {
		t.Errorf("only %d readings were good", plain)
	}
}
