"""What a run takes, before it begins: parameters, memory, throughput, time and money."""
