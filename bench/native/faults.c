// What a program in C pays for finding its dirty pages with mprotect and
// SIGSEGV, the way it has been done for decades: 16 KiB pages of a privately
// mapped file are read-only, the first store faults, the handler notes the
// page and opens it.
//
// faults FILE PAGES ORDER: stores to every page twice, all pages protected
// again in between, and prints the nanoseconds a store took each time. ORDER is
// a file of PAGES page numbers of 4 bytes.
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { page_size = 16384 };

static char *arena;
static size_t pages;
static uint8_t *dirty;

static void on_fault(int sig, siginfo_t *info, void *context) {
	(void)sig, (void)context;
	size_t page = (size_t)((char *)info->si_addr - arena) / page_size;
	if (page >= pages || dirty[page])
		_exit(3);
	dirty[page] = 1;
	if (mprotect(arena + page * page_size, page_size, PROT_READ | PROT_WRITE))
		_exit(4);
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static double store(const uint32_t *order) {
	double start = now();
	for (size_t i = 0; i < pages; i++)
		((volatile char *)arena)[(size_t)order[i] * page_size] = 1;
	return (now() - start) / pages;
}

static void protect(void) {
	for (size_t i = 0; i < pages; i++)
		dirty[i] = 0;
	if (mprotect(arena, pages * page_size, PROT_READ))
		exit(5);
}

int main(int argc, char **argv) {
	if (argc != 4)
		return 2;
	int f = open(argv[1], O_RDONLY);
	pages = strtoul(argv[2], NULL, 10);
	uint32_t *order = malloc(pages * sizeof *order);
	dirty = malloc(pages);
	FILE *o = fopen(argv[3], "r");
	if (f < 0 || !order || !dirty || !o || fread(order, sizeof *order, pages, o) != pages)
		return 2;
	arena = mmap(NULL, pages * page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, f, 0);
	if (arena == MAP_FAILED)
		return 2;
	madvise(arena, pages * page_size, MADV_NOHUGEPAGE);
	unsigned sum = 0;
	for (size_t i = 0; i < pages; i++) // warm: page tables filled with the file's pages
		sum += (unsigned char)arena[i * page_size];
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	sigaction(SIGSEGV, &action, NULL);
	protect();
	double first = store(order);
	protect();
	printf("%f %f %u\n", first, store(order), sum);
	return 0;
}
