/* One panel of a weight times all rows that were given: what the files of full and of packed weights answer. */
#pragma once
#include "products.h"
#include "vectors.h"

#define STRIDE (4 * LANES) /* channels of full weights at once */

void float_panel(const Matrix *map, const Given *given, int number, float *y, int64_t step, int add);
void int_panel(const Matrix *map, const Given *given, int number, float *y, int64_t step, int add);
