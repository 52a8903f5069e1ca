/* How many chosen pixels are composed at one time: columns, rows, and input that they read. */
#pragma once

enum { LISTED = 256, LISTED_ROWS = 8, READ = 5 * LISTED, IMAGE_ROWS = 4 };
