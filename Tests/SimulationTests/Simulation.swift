import HeapModule
import Synchronization

/// Runs asynchronous code on one thread, in virtual time and in an order that a seed decides: the same seed, the same interleaving.
///
/// What is ready runs in a random order; when nothing is, the clock jumps to whoever sleeps shortest. An hour of time-outs costs nothing, and a
/// process can be killed between any two steps: what it still had to do is dropped, while the world's own timers go on.
final class Simulation: TaskExecutor {
    enum Ending: Hashable {
        case finished
        /// The time that was given is over.
        case timeIsUp
        /// Nothing is ready, nobody sleeps, and it is not finished: it would wait for ever.
        case stuck
    }

    private struct State: Sendable {
        var now = Duration.zero
        var ready: [UnownedJob] = []
        var waiting = Heap<Waiter>()
        var count = 0
        var random: Seeded
    }

    private struct Waiter: Comparable, Sendable {
        enum Call: Sendable {
            case resume(UnsafeContinuation<Void, Never>)
            /// Belongs to the world, and outlives the process.
            case event(@Sendable () -> Void)
        }

        var time: Duration
        var number: Int
        var call: Call

        static func < (a: Self, b: Self) -> Bool { (a.time, a.number) < (b.time, b.number) }
        static func == (a: Self, b: Self) -> Bool { a.number == b.number }
    }

    private let state: Mutex<State>

    init(_ random: Seeded) { state = Mutex(State(random: random)) }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        state.withLock { $0.ready.append(job) }
    }

    var now: Duration { state.withLock { $0.now } }

    func random(in range: ClosedRange<Int>) -> Int { state.withLock { Int.random(in: range, using: &$0.random) } }

    func sleep(for duration: Duration) async { await sleep(until: now + duration) }

    func sleep(until time: Duration) async {
        await withUnsafeContinuation { continuation in wait(until: time, .resume(continuation)) }
    }

    /// Something that happens in the world at a time, whoever runs.
    func at(_ time: Duration, _ event: @escaping @Sendable () -> Void) { wait(until: time, .event(event)) }

    private func wait(until time: Duration, _ call: Waiter.Call) {
        state.withLock { state in
            state.count += 1
            state.waiting.insert(Waiter(time: max(time, state.now), number: state.count, call: call))
        }
    }

    /// Carries `body` out as one process.
    func run(for limit: Duration, _ body: @escaping @Sendable () async -> Void) -> Ending {
        let done = Flag()
        Task(executorPreference: self) {
            await body()
            done.raise()
        }
        let end = now + limit
        while !done.isRaised {
            guard step(until: end) else { return now >= end ? .timeIsUp : .stuck }
        }
        return .finished
    }

    /// Lets the world go on by itself.
    func pass(_ duration: Duration) {
        let end = now + duration
        while step(until: end) {}
        state.withLock { $0.now = end }
    }

    /// Ends the process where it stands, as `kill -9` does.
    func kill() {
        state.withLock { state in
            state.ready = []
            let events = state.waiting.unordered.filter { if case .event = $0.call { true } else { false } }
            state.waiting = Heap(events)
        }
    }

    private func step(until end: Duration) -> Bool {
        let job = state.withLock { state -> UnownedJob? in
            guard !state.ready.isEmpty else { return nil }
            return state.ready.remove(at: Int.random(in: state.ready.indices, using: &state.random))
        }
        if let job {
            job.runSynchronously(on: asUnownedTaskExecutor())
            return true
        }
        let waiter = state.withLock { state -> Waiter? in
            guard let next = state.waiting.min else { return nil }
            guard next.time <= end else {
                state.now = end
                return nil
            }
            state.now = next.time
            return state.waiting.popMin()
        }
        switch waiter?.call {
        case .resume(let continuation): continuation.resume()
        case .event(let event): event()
        case nil: return false
        }
        return true
    }
}

private final class Flag: Sendable {
    private let value = Atomic(false)
    var isRaised: Bool { value.load(ordering: .relaxed) }
    func raise() { value.store(true, ordering: .relaxed) }
}

/// SplitMix64: the same numbers for the same seed on every machine.
struct Seeded: RandomNumberGenerator, Sendable {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func chance(_ one: Int, in all: Int) -> Bool { Int.random(in: 1...all, using: &self) <= one }
}
