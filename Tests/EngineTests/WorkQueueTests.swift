import Reconciling
import ResourceModel
import Testing

@Suite struct WorkQueueTests {
    private func address(_ target: String, _ resource: String) -> ResourceAddress { ResourceAddress(target: target, resource: resource) }

    @Test func mergesEqualRequestsAndTheEarliestWins() {
        var queue = WorkQueue(healthy: 4, suspect: 1)
        queue.request("a", .parts([address("a", "x")]), because: "event", at: .zero, due: .seconds(10))
        queue.request("a", .parts([address("a", "y")]), because: "event", at: .seconds(1), due: .seconds(5))
        #expect(queue.depth(at: .seconds(4)) == 0)
        #expect(queue.next(at: .seconds(4)) == nil)
        #expect(queue.nextDue(after: .seconds(4)) == .seconds(5))
        let work = queue.next(at: .seconds(5))
        #expect(work?.scope == .parts([address("a", "x"), address("a", "y")]))
        #expect(work?.reasons == ["event"])
        #expect(work?.requested == .zero)
    }

    @Test func theWholeTakesInItsParts() {
        var queue = WorkQueue(healthy: 4, suspect: 1)
        queue.request("a", .parts([address("a", "x")]), because: "event", at: .zero)
        queue.request("a", .whole, because: "push", at: .zero)
        queue.request("a", .parts([address("a", "z")]), because: "event", at: .zero)
        #expect(queue.next(at: .zero)?.scope == .whole)
        #expect(queue.next(at: .seconds(100)) == nil)
    }

    @Test func anEventDoesNotBringForwardTheLookAtEverything() {
        var queue = WorkQueue(healthy: 4, suspect: 1)
        queue.request("a", .whole, because: "audit", at: .zero, due: .seconds(600))
        queue.request("a", .parts([address("a", "x")]), because: "event", at: .seconds(1))
        #expect(queue.next(at: .seconds(1))?.scope == .parts([address("a", "x")]))
        queue.finish("a", answered: true)
        #expect(queue.next(at: .seconds(599)) == nil)
        #expect(queue.next(at: .seconds(600))?.scope == .whole)
    }

    @Test func aLookAtEverythingDoesNotBringForwardWhatHasToBeSeenAgain() {
        var queue = WorkQueue(healthy: 4, suspect: 1)
        queue.request("a", .parts([address("a", "x")]), because: "settles", at: .zero, due: .seconds(60))
        queue.request("a", .whole, because: "push", at: .seconds(1))
        #expect(queue.next(at: .seconds(1))?.scope == .whole)
        queue.finish("a", answered: true)
        #expect(queue.next(at: .seconds(60))?.scope == .parts([address("a", "x")]))
    }

    @Test func whatIsAskedForMeanwhileComesAfter() {
        var queue = WorkQueue(healthy: 4, suspect: 1)
        queue.request("a", .whole, because: "push", at: .zero)
        #expect(queue.next(at: .zero) != nil)
        queue.request("a", .parts([address("a", "x")]), because: "event", at: .zero)
        #expect(queue.next(at: .seconds(1)) == nil)
        queue.finish("a", answered: true)
        #expect(queue.next(at: .seconds(1))?.scope == .parts([address("a", "x")]))
    }

    @Test func targetsThatHangDoNotDelayOthers() {
        var queue = WorkQueue(healthy: 2, suspect: 1)
        for name in ["dead-1", "dead-2"] {
            queue.request(name, .whole, because: "push", at: .zero)
            _ = queue.next(at: .zero)
            queue.finish(name, answered: false)
        }
        for name in ["dead-1", "dead-2"] { queue.request(name, .whole, because: "retry", at: .zero) }
        queue.request("live-1", .whole, because: "push", at: .seconds(1))
        queue.request("live-2", .whole, because: "push", at: .seconds(1))
        var started: [String] = []
        while let work = queue.next(at: .seconds(1)) { started.append(work.target) }
        #expect(Set(started) == ["dead-1", "live-1", "live-2"])
    }

    /// Random requests and endings: never two at once for one target, never more than the limits, nothing lost.
    @Test(arguments: 0..<200) func losesNothing(seed: Int) {
        var generator = Generator(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1)
        var queue = WorkQueue(healthy: 2, suspect: 1)
        let targets = ["a", "b", "c", "d"]
        var running: Set<String> = []
        var asked: [String: Set<ResourceAddress>] = [:]
        var now = Duration.zero
        for _ in 0..<300 {
            now += .milliseconds(Int(generator.next() % 20))
            switch generator.next() % 3 {
            case 0:
                let target = targets[Int(generator.next() % 4)]
                let part = ResourceAddress(target: target, resource: "\(generator.next() % 5)")
                asked[target, default: []].insert(part)
                queue.request(target, .parts([part]), because: "event", at: now, due: now + .milliseconds(Int(generator.next() % 50)))
            case 1:
                if let work = queue.next(at: now) {
                    #expect(running.insert(work.target).inserted)
                    #expect(running.count <= 3)
                    guard case .parts(let parts) = work.scope else { continue }
                    #expect(parts == asked.removeValue(forKey: work.target))
                }
            default:
                if let target = running.sorted().first {
                    running.remove(target)
                    queue.finish(target, answered: generator.next() % 2 == 0)
                }
            }
        }
        for target in running { queue.finish(target, answered: true) }
        now += .seconds(1)
        while let work = queue.next(at: now) {
            asked[work.target] = nil
            queue.finish(work.target, answered: true)
        }
        #expect(asked.isEmpty)
        #expect(queue.isIdle && queue.depth(at: now) == 0)
    }

    @Test func retriesMoreAndMoreSeldom() {
        let delays = RetryDelays(first: .seconds(1), limit: .seconds(40))
        #expect(delays.delay(failures: 1, chance: 0) == .seconds(1))
        #expect(delays.delay(failures: 4, chance: 0) == .seconds(8))
        #expect(delays.delay(failures: 100, chance: 0) == .seconds(40))
        #expect(delays.delay(failures: 100, chance: 1) == .seconds(20))
    }
}

private struct Generator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
}
