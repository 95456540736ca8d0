package wire

import (
	"encoding/hex"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// fence returns the text of the page's first block that opens with ```info.
func fence(t *testing.T, info string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/format/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```" + info + "\n(.*?)```").FindSubmatch(page)
	if m == nil {
		t.Fatalf("docs/format/wire.md has no block %q", info)
	}
	return string(m[1])
}

// hexOf returns the bytes of a block whose lines are pairs of digits, two blanks or more, and a remark.
func hexOf(t *testing.T, info string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(fence(t, info)) {
		code, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
		digits.WriteString(strings.ReplaceAll(code, " ", ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pageRows are the readings of the page's example.
func pageRows() []gridloom.Reading {
	var rows []gridloom.Reading
	for i, at := range []gridloom.Millis{1_795_378_500_000, 1_795_378_510_000} {
		r := gridloom.Reading{Meter: "m1", Start: at, Agent: "gw-17", Order: gridloom.NewOrder(gridloom.ClassDevice, 217_000_000, 981)}
		e, p := r, r
		e.Register, e.Value = register("energy_import"), []int64{5_415_414_190, 5_415_415_390}[i]
		p.Register, p.Value = register("power_import"), []int64{432_100, 431_900}[i]
		rows = append(rows, e, p)
	}
	return rows
}

func TestTheBatchOfThePage(t *testing.T) {
	data := hexOf(t, "hex batch")
	_, got, bads, err := decodeBatch(data, 0)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(bySeries(pageRows()), bySeries(got)); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]refusal{{"series[2].value", Syntax}}, bads); d != "" {
		t.Errorf("refused (-want +got):\n%s", d)
	}
	own := AppendBatch(nil, &Batch{Agent: "gw-17", Epoch: 217_000_000, Seq: 981, HasOrder: true, Columns: columnsOf(pageRows())})
	if want := data[:len(data)-2]; string(own) != string(want) || len(own) != 73 {
		t.Errorf("AppendBatch writes\n% x\nand the page has\n% x", own, want)
	}
}

func TestTheFrameOfThePage(t *testing.T) {
	data := hexOf(t, "hex frame")
	var c Columns
	if _, err := DecodeFrame(data, &c); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(pageRows(), readings(&c)); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	if own := AppendFrame(nil, FrameInfo{Kind: KindReadings, Generation: 1, Partition: 3}, &c); string(own) != string(data) {
		t.Errorf("AppendFrame writes\n% x\nand the page has\n% x", own, data)
	}
}

// foreign looks for a program that the machine may lack.
func foreign(t *testing.T, program, debian string) string {
	t.Helper()
	bin, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("GRIDLOOM_REQUIRE") != "" {
			t.Fatalf("%s (Debian package %s) is not installed", program, debian)
		}
		t.Skipf("%s (Debian package %s) is not installed", program, debian)
	}
	return bin
}

func TestThePythonClientOfThePage(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), foreign(t, "python3", "python3"), "-")
	cmd.Stdin = strings.NewReader(fence(t, "python"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := hexOf(t, "hex batch")
	if got := strings.TrimSpace(string(out)); got != hex.EncodeToString(want[:len(want)-2]) {
		t.Errorf("the client prints\n%s\nwant\n%x", got, want[:len(want)-2])
	}
}

func TestTheCClientOfThePage(t *testing.T) {
	bin := t.TempDir() + "/client"
	cc := exec.CommandContext(t.Context(), foreign(t, "cc", "gcc"), "-x", "c", "-Wall", "-Wextra", "-Werror", "-o", bin, "-")
	cc.Stdin = strings.NewReader("#include <stdio.h>\n#include <string.h>\n" + fence(t, "c") +
		"int main(void) { unsigned char b[64]; int n = reading(b, \"m1\", 1795378500000LL, -432100); return (int)fwrite(b, 1, n, stdout) != n; }\n")
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := exec.CommandContext(t.Context(), bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, got, bads, err := decodeBatch(data, 0)
	want := []gridloom.Reading{{Meter: "m1", Register: register("power_import"), Start: 1_795_378_500_000, Value: -432_100}}
	if d := cmp.Diff(want, got); err != nil || len(bads) > 0 || d != "" {
		t.Errorf("%v, %v (-want +got):\n%s", err, bads, d)
	}
}

// TestProtocReadsAFrame: what AppendFrame writes is what frame.proto says, and what
// protoc writes of it decodes to the same rows.
func TestProtocReadsAFrame(t *testing.T) {
	rows := slices.Concat(sampleRows(), pageRows())
	text := protoc(t, "frame.proto", "--decode=gridloom.v1.Frame", AppendFrame(nil, FrameInfo{Kind: KindEdit, Generation: 1, Partition: 3}, columnsOf(rows)))
	for _, want := range []string{"version: 1\n", "kind: 2\n", "readings: 11\n", `register: "1-0:1.29.0"`, "order_run: ", "void: 3\n", "quality: 4096\n", "length: 900000\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("protoc --decode has no %q:\n%s", want, text)
		}
	}
	var c Columns
	if _, err := DecodeFrame(protoc(t, "frame.proto", "--encode=gridloom.v1.Frame", text), &c); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rows, readings(&c)); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
}
