package main

import (
	"io"
	"strings"
	"testing"
)

func TestSkipsAndFailuresAreCounted(t *testing.T) {
	s, err := read(strings.NewReader(`
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: needs mosquitto\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}
{"Action":"skip","Package":"without-tests"}
{"ImportPath":"q","Action":"build-fail"}
`), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if s.passed != 1 || len(s.skipped) != 1 || len(s.failed) != 3 {
		t.Fatalf("read() = %+v, want 1 passed, 1 skipped, 3 failed", s)
	}
	if want := "p TestA: a_test.go:3: needs mosquitto"; s.skipped[0] != want {
		t.Errorf("skipped %q, want %q", s.skipped[0], want)
	}
}
