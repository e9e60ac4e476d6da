"""Everything durable: objects, queue, studies, results, reports and deliveries."""
