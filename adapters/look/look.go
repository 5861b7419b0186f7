// Package look is the one face of portal and desks: page frame, CSS and formats of FACES.
package look

import (
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"time"
)

//go:embed look.css cloud.svg frame.html
var files embed.FS

// WIB is Western Indonesian Time, UTC+7 without daylight saving.
func WIB() *time.Location { return time.FixedZone("WIB", 7*60*60) }

// Moment shows an instant as "Sen 23 Nov 2026, 14.05 WIB".
func Moment(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	t = t.In(WIB())
	days := [...]string{"Min", "Sen", "Sel", "Rab", "Kam", "Jum", "Sab"}
	months := [...]string{"Jan", "Feb", "Mar", "Apr", "Mei", "Jun", "Jul", "Agu", "Sep", "Okt", "Nov", "Des"}
	return fmt.Sprintf("%s %d %s %d, %02d.%02d WIB", days[t.Weekday()], t.Day(), months[t.Month()-1], t.Year(), t.Hour(), t.Minute())
}

// Pages parses a face's templates with the frame and the formats.
func Pages(pages embed.FS, pattern string) (*template.Template, error) {
	t, err := template.New("look").Funcs(template.FuncMap{"moment": Moment}).ParseFS(files, "frame.html")
	if err != nil {
		return nil, fmt.Errorf("parse frame: %w", err)
	}
	if t, err = t.ParseFS(pages, pattern); err != nil {
		return nil, fmt.Errorf("parse pages: %w", err)
	}
	return t, nil
}

// Assets serves the style sheet and the cloud.
func Assets() http.Handler {
	return http.StripPrefix("/look/", http.FileServerFS(files))
}

// Secure sets the headers every page has: no script, no foreign request, no cache.
func Secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
