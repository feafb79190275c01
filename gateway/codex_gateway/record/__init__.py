"""What is kept of requests, in SQLite: who asked what of whom, every attempt with its reason, tokens, cost and, where
wanted, bodies without keys; and what was learned about endpoints.

Map: `schema` the tables, `rows` an entry as rows and back, `cost` the price of an answer, `recorder` the one writer
beside the event loop, `retention` what is deleted when, `query` reading, also while no gateway runs, `export` one
request as a zip, `stats` sums, `facts` what was learned, `responses` earlier answers for `previous_response_id`.
"""
