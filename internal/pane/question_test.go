package pane

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// TestSelectorSurvivesItsText: what is asked arrives as it was meant, all and none included.
func TestSelectorSurvivesItsText(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range 500 {
		want := randomSelector(rng)
		want.Only = []Kind{"", KindRaw, KindPane, KindRegistry, KindAudit}[i%5]
		if i%5 > 2 && i%2 == 0 {
			want.Keys = []string{"meter/m1", "node/é"}[:i%3]
		}
		text, err := EncodeSelector(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeSelector(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%s comes back changed, %v:\n%s", text, err, diff)
		}
	}
}

func TestSelectorOfANewerVersionIsRefused(t *testing.T) {
	for _, text := range []string{``, `[]`, `{"meters":1}`, `{"registers":["9-9:9.9.9"]}`, `{"only":"moon"}`, `{"phase":2}`} {
		if sel, err := DecodeSelector([]byte(text)); !errors.Is(err, gridloom.ErrInvalid) {
			t.Errorf("DecodeSelector(%s) = %+v, %v; want ErrInvalid", text, sel, err)
		}
	}
}

func FuzzSelector(f *testing.F) {
	for _, text := range []string{`{}`, `{"meters":["m"],"registers":["1-0:1.8.0"],"from":1,"to":2,"after":3,"only":"raw"}`, `{"meters":[],"registers":[]}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		sel, err := DecodeSelector(text)
		if err != nil {
			return
		}
		again, err := EncodeSelector(sel)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeSelector(again); err != nil || !cmp.Equal(sel, got) {
			t.Errorf("%q gives %+v, and then %+v, %v", text, sel, got, err)
		}
	})
}
