package measure

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Report collects the measurements.
type Report struct{ rows []row }

type row struct {
	work, got, bar string
	passed, binds  bool
}

// add adds a row, in the short form without its bar.
func (r *Report) add(added row) {
	if short {
		added.bar, added.binds = "", false
	}
	r.rows = append(r.rows, added)
}

// Count adds a number that does not depend on the machine, such as requests or their ratio. It must not be above the bar.
func (r *Report) Count(work string, got, most float64) {
	r.add(row{work, fmt.Sprintf("%.4g", got), fmt.Sprintf("at most %.4g", most), got <= most, true})
}

// AtLeast adds a number of that kind that must not be below the target.
func (r *Report) AtLeast(work string, got, least float64) {
	r.add(row{work, fmt.Sprintf("%.4g", got), fmt.Sprintf("at least %.4g", least), got >= least, true})
}

// Duration adds a time, which depends on the machine.
func (r *Report) Duration(work string, got, most time.Duration) {
	r.add(row{work, Readable(got), "at most " + Readable(most), got <= most, false})
}

// Size adds an amount of memory in bytes, which depends on the machine a little.
func (r *Report) Size(work string, got, most uint64) {
	r.add(row{work, Mebibytes(got), "at most " + Mebibytes(most), got <= most, false})
}

// Note adds a number without a target, such as a peer's.
func (r *Report) Note(work, got string) {
	r.add(row{work: work, got: got, passed: true})
}

func (r *Report) print(to io.Writer) {
	table := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "WORK\tMEASURED\tTARGET\tVERDICT")
	for _, row := range r.rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", row.work, row.got, row.bar, row.said())
	}
	_ = table.Flush() // without a reader there is no table to print
}

func (r row) said() string {
	switch {
	case r.bar == "":
		return ""
	case r.passed:
		return "pass"
	default:
		return "miss"
	}
}

// verdict returns an error if a count missed its target.
func (r *Report) verdict() error {
	missed := 0
	for _, row := range r.rows {
		if row.binds && !row.passed {
			missed++
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d counts or ratios miss their target", missed)
	}
	return nil
}

// Readable returns the time with its significant digits.
func Readable(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	default:
		return d.Round(100 * time.Nanosecond).String()
	}
}

// Mebibytes returns the amount in MiB.
func Mebibytes(bytes uint64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
