STOP = 2  # ends an answer, and here also fills up short rows
ids = [1, 7, 8, 5, 6, STOP, STOP, STOP]
begin, end = 3, 6  # the answer with its stop token; after it there is padding
print("by token id:", [int(place >= begin and token != STOP) for place, token in enumerate(ids)])
print("by position:", [int(begin <= place < end) for place in range(len(ids))])
