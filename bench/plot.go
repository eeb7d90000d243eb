package main

import (
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

// line is one contender of a chart.
type line struct {
	name string
	y    []float64 // one for each x; 0: not measured
}

// chart is lines over named points, with a logarithmic axis.
type chart struct {
	title, xTitle string
	floor         string // the line that is drawn in black
	x             []string
	lines         []line
}

const (
	plotWidth, plotHeight                    = 860, 460
	leftEdge, topEdge, rightEdge, bottomEdge = 60, 40, 640, 410
)

var palette = []color.RGBA{
	{0xd6, 0x27, 0x28, 255}, {0x1f, 0x77, 0xb4, 255}, {0x2c, 0xa0, 0x2c, 255}, {0xff, 0x7f, 0x0e, 255}, {0x94, 0x67, 0xbd, 255},
	{0x8c, 0x56, 0x4b, 255}, {0xe3, 0x77, 0xc2, 255}, {0x7f, 0x7f, 0x7f, 255}, {0xbc, 0xbd, 0x22, 255}, {0x17, 0xbe, 0xcf, 255},
}

// plot writes the series and the stopped program as PNG.
func (all results) plot(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for key, s := range allSeries {
		names, sizes := s.rows(all)
		c := chart{title: "times the floor, " + s.title, xTitle: "D", floor: "floor"}
		for _, d := range sizes {
			c.x = append(c.x, strconv.Itoa(d))
		}
		for _, name := range names {
			l := line{name: name}
			for _, d := range sizes {
				_, v := s.value(all, name, d)
				l.y = append(l.y, v.Ratio)
			}
			c.lines = append(c.lines, l)
		}
		if err := c.write(filepath.Join(dir, key+".png")); err != nil {
			return err
		}
	}
	r := all["stopped"]
	if r == nil {
		return nil
	}
	c := chart{title: "milliseconds that the program is stopped to save D of 16384 pages", xTitle: "D", floor: r.Floor, x: r.Columns}
	for _, x := range r.Rows {
		l := line{name: x.Name}
		for _, column := range r.Columns {
			l.y = append(l.y, x.Values[column].Median)
		}
		c.lines = append(c.lines, l)
	}
	return c.write(filepath.Join(dir, "stopped.png"))
}

func (c chart) write(name string) error {
	if len(c.x) < 2 {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := png.Encode(f, c.draw()); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

func (c chart) draw() *image.Paletted {
	colors := color.Palette{color.White, color.Black, color.Gray{0xdd}}
	for _, p := range palette {
		colors = append(colors, p)
	}
	img := image.NewPaletted(image.Rect(0, 0, plotWidth, plotHeight), colors)
	low, high := math.Inf(1), 0.0
	for _, l := range c.lines {
		for _, y := range l.y {
			if y > 0 {
				low, high = min(low, y), max(high, y)
			}
		}
	}
	low, high = math.Floor(math.Log10(low)), math.Ceil(math.Log10(high)+1e-9)
	height := func(y float64) int {
		return bottomEdge - int((math.Log10(y)-low)/(high-low)*(bottomEdge-topEdge))
	}
	at := func(i int) int { return leftEdge + 20 + i*(rightEdge-leftEdge-40)/(len(c.x)-1) }
	label(img, leftEdge, 20, c.title, color.Black)
	for e := low; e <= high; e++ {
		for m := 1.0; m < 10; m++ {
			if v := m * math.Pow(10, e); e < high || m == 1 {
				segment(img, leftEdge, height(v), rightEdge, height(v), color.Gray{0xdd})
			}
		}
		label(img, 10, height(math.Pow(10, e))+4, strconv.FormatFloat(math.Pow(10, e), 'g', -1, 64), color.Black)
	}
	for i, x := range c.x {
		segment(img, at(i), topEdge, at(i), bottomEdge, color.Gray{0xdd})
		label(img, at(i)-7*len(x)/2, bottomEdge+18, x, color.Black)
	}
	label(img, (leftEdge+rightEdge)/2, bottomEdge+38, c.xTitle, color.Black)
	segment(img, leftEdge, topEdge, leftEdge, bottomEdge, color.Black)
	segment(img, leftEdge, bottomEdge, rightEdge, bottomEdge, color.Black)
	c.drawLines(img, at, height)
	return img
}

// drawLines draws the lines, and their names beside their ends, moved apart.
func (c chart) drawLines(img draw.Image, at func(int) int, height func(float64) int) {
	type end struct {
		name  string
		y     int
		paint color.Color
	}
	var ends []end
	for n, l := range c.lines {
		var paint color.Color = palette[n%len(palette)]
		if l.name == c.floor {
			paint = color.Black
		}
		for i := range l.y {
			if l.y[i] <= 0 {
				continue
			}
			x, y := at(i), height(l.y[i])
			draw.Draw(img, image.Rect(x-3, y-3, x+4, y+4), image.NewUniform(paint), image.Point{}, draw.Src)
			if i > 0 && l.y[i-1] > 0 {
				for shift := range 2 {
					segment(img, at(i-1), height(l.y[i-1])+shift, x, y+shift, paint)
				}
			}
		}
		if last := l.y[len(l.y)-1]; last > 0 {
			ends = append(ends, end{l.name, height(last), paint})
		}
	}
	slices.SortStableFunc(ends, func(a, b end) int { return a.y - b.y })
	y := topEdge
	for i, e := range ends {
		room := (len(ends) - i) * 15
		y = max(y, min(e.y, plotHeight-room))
		segment(img, at(len(c.x)-1)+6, e.y, rightEdge+18, y, e.paint)
		label(img, rightEdge+22, y+4, e.name, color.Black)
		y += 15
	}
}

func segment(img draw.Image, x0, y0, x1, y1 int, c color.Color) {
	n := max(abs(x1-x0), abs(y1-y0), 1)
	for i := range n + 1 {
		img.Set(x0+(x1-x0)*i/n, y0+(y1-y0)*i/n, c)
	}
}

func abs(x int) int { return max(x, -x) }

func label(img draw.Image, x, y int, text string, c color.Color) {
	d := font.Drawer{Dst: img, Src: image.NewUniform(c), Face: basicfont.Face7x13, Dot: fixed.P(x, y)}
	d.DrawString(text)
}
