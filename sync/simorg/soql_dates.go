package simorg

import (
	"strconv"
	"strings"
	"time"
)

// dateWord gives the days that a date literal stands for, from the first to before the last, in the user's time zone, which is GMT
// (https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_dateformats.htm).
func dateWord(word string, today int64) (from, to int64, ok bool) {
	name, count, has := strings.Cut(word, ":")
	n := int64(0)
	if has {
		k, err := strconv.Atoi(count)
		if err != nil || k < 0 || k > 100_000 || !strings.Contains(name, "_N_") {
			return 0, 0, false
		}
		n = int64(k)
	} else if strings.Contains(name, "_N_") {
		return 0, 0, false
	}
	y, m, _ := civil(today)
	month := func(k int64) int64 {
		return dayOf(time.Date(y, time.Month(int64(m)+k), 1, 0, 0, 0, 0, time.UTC))
	}
	quarter := func(k int64) int64 { return month(int64(-(m-1)%3) + 3*k) }
	year := func(k int64) int64 { return dayOf(time.Date(y+int(k), 1, 1, 0, 0, 0, 0, time.UTC)) }
	// Weeks start on Sunday, as for users in the United States; 1970-01-01 was a Thursday.
	week := func(k int64) int64 { return today - (today+4)%7 + 7*k }
	switch name {
	case "YESTERDAY":
		return today - 1, today, true
	case "TODAY":
		return today, today + 1, true
	case "TOMORROW":
		return today + 1, today + 2, true
	case "LAST_WEEK":
		return week(-1), week(0), true
	case "THIS_WEEK":
		return week(0), week(1), true
	case "NEXT_WEEK":
		return week(1), week(2), true
	case "LAST_MONTH":
		return month(-1), month(0), true
	case "THIS_MONTH":
		return month(0), month(1), true
	case "NEXT_MONTH":
		return month(1), month(2), true
	case "LAST_90_DAYS":
		return today - 90, today + 1, true
	case "NEXT_90_DAYS":
		return today + 1, today + 91, true
	case "LAST_N_DAYS":
		// From n days ago through now.
		return today - n, today + 1, true
	case "NEXT_N_DAYS":
		return today + 1, today + 1 + n, true
	case "N_DAYS_AGO":
		return today - n, today - n + 1, true
	case "LAST_N_WEEKS":
		return week(-n), week(0), true
	case "NEXT_N_WEEKS":
		return week(1), week(1 + n), true
	case "N_WEEKS_AGO":
		return week(-n), week(-n + 1), true
	case "LAST_N_MONTHS":
		return month(-n), month(0), true
	case "NEXT_N_MONTHS":
		return month(1), month(1 + n), true
	case "N_MONTHS_AGO":
		return month(-n), month(-n + 1), true
	case "THIS_QUARTER", "THIS_FISCAL_QUARTER":
		return quarter(0), quarter(1), true
	case "LAST_QUARTER", "LAST_FISCAL_QUARTER":
		return quarter(-1), quarter(0), true
	case "NEXT_QUARTER", "NEXT_FISCAL_QUARTER":
		return quarter(1), quarter(2), true
	case "LAST_N_QUARTERS", "LAST_N_FISCAL_QUARTERS":
		return quarter(-n), quarter(0), true
	case "NEXT_N_QUARTERS", "NEXT_N_FISCAL_QUARTERS":
		return quarter(1), quarter(1 + n), true
	case "N_QUARTERS_AGO", "N_FISCAL_QUARTERS_AGO":
		return quarter(-n), quarter(-n + 1), true
	case "THIS_YEAR", "THIS_FISCAL_YEAR":
		return year(0), year(1), true
	case "LAST_YEAR", "LAST_FISCAL_YEAR":
		return year(-1), year(0), true
	case "NEXT_YEAR", "NEXT_FISCAL_YEAR":
		return year(1), year(2), true
	case "LAST_N_YEARS", "LAST_N_FISCAL_YEARS":
		return year(-n), year(0), true
	case "NEXT_N_YEARS", "NEXT_N_FISCAL_YEARS":
		return year(1), year(1 + n), true
	case "N_YEARS_AGO", "N_FISCAL_YEARS_AGO":
		return year(-n), year(-n + 1), true
	}
	return 0, 0, false
}

// dateFunctions take a date or datetime apart.
var dateFunctions = map[string]func(day int64, ms int64) value{
	"CALENDAR_YEAR":    func(d, _ int64) value { y, _, _ := civil(d); return intOf(int64(y)) },
	"FISCAL_YEAR":      func(d, _ int64) value { y, _, _ := civil(d); return intOf(int64(y)) },
	"CALENDAR_QUARTER": func(d, _ int64) value { _, m, _ := civil(d); return intOf(int64(m+2) / 3) },
	"FISCAL_QUARTER":   func(d, _ int64) value { _, m, _ := civil(d); return intOf(int64(m+2) / 3) },
	"CALENDAR_MONTH":   func(d, _ int64) value { _, m, _ := civil(d); return intOf(int64(m)) },
	"FISCAL_MONTH":     func(d, _ int64) value { _, m, _ := civil(d); return intOf(int64(m)) },
	"DAY_IN_MONTH":     func(d, _ int64) value { _, _, n := civil(d); return intOf(int64(n)) },
	"DAY_IN_WEEK":      func(d, _ int64) value { return intOf((d+4)%7 + 1) },
	"DAY_IN_YEAR": func(d, _ int64) value {
		y, _, _ := civil(d)
		return intOf(d - dayNumber(y, 1, 1) + 1)
	},
	"DAY_ONLY":    func(d, _ int64) value { return dateOf(d) },
	"HOUR_IN_DAY": func(_, ms int64) value { return intOf(ms % 86_400_000 / 3_600_000) },
}
