/*
 * plan.h
 *	  Plans that hold when the tables have grown.
 *
 * A plan that is kept may be made while a table is empty, where to read all of it
 * costs least, and be used when it holds millions of rows.  While the setting
 * damoov.plan_lookups is on (see sql_enter()) the planner is told that each
 * table of the extension is large and that nothing is known of its values: what
 * can be looked up by an index is.  That holds for all that is planned then,
 * rules and checks of foreign keys, too, but for no table of others.
 */
#ifndef DAMOOV_PLAN_H
#define DAMOOV_PLAN_H

/* Once a process, when the library is loaded. */
extern void plan_init(void);

#endif							/* DAMOOV_PLAN_H */
