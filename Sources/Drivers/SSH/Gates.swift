internal import Synchronization

/// Lets a bounded number of logins at a time through to each server: sshd drops new ones from the eleventh that has not logged in yet (MaxStartups).
final class Gates: Sendable {
    private struct Gate {
        var inside = 0
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let limit: Int
    private let gates = Mutex<[String: Gate]>([:])

    init(limit: Int) { self.limit = limit }

    func enter(_ server: String) async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let goesOn = gates.withLock { gates in
                if gates[server, default: Gate()].inside < limit {
                    gates[server, default: Gate()].inside += 1
                    return true
                }
                gates[server]?.waiting.append(continuation)
                return false
            }
            if goesOn { continuation.resume() }
        }
    }

    func leave(_ server: String) {
        let next = gates.withLock { gates -> CheckedContinuation<Void, Never>? in
            guard var gate = gates[server] else { return nil }
            // Whoever waits takes over our place.
            if !gate.waiting.isEmpty {
                let next = gate.waiting.removeFirst()
                gates[server] = gate
                return next
            }
            gate.inside -= 1
            gates[server] = gate.inside == 0 ? nil : gate
            return nil
        }
        next?.resume()
    }
}
