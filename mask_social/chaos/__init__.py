"""Pull every plug while posts flow in, and prove that nothing is lost and nothing doubled: ``make chaos``.

plan        which faults, in which order: all from one seed
scene       the service, its platform, its receivers and its clock
traffic     a good client: keys, retries, withdrawals, appeals
killing  servers  surroundings    the faults
facts       what the database, the receivers and the client each say
posts  rewards  events            the oracle: where they disagree, a promise is broken
report      what was done, what was checked, how long it took to recover
"""
