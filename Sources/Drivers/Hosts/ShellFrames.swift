/// Takes apart what a resident shell writes. Each answer stands between frames on standard output and on standard error alike, which arrive as two
/// streams: so the two stay apart without a temporary file.
///
/// A frame is a line `SEPARATOR begin NUMBER`, `SEPARATOR end NUMBER STATUS` or `SEPARATOR done`, with a line feed of ours before it. The separator is
/// random and new for every request, so no command can write one by chance.
struct ShellFrames: Sendable {
    enum Stream: Hashable, Sendable {
        case output
        case errorOutput
    }

    struct Answer: Hashable, Sendable {
        var status: Int32
        var output: [UInt8]
        var errorOutput: [UInt8]
    }

    struct Limits: Hashable, Sendable {
        /// Bytes between two frames, on both streams.
        var answer = 4 << 20
        /// Bytes in all.
        var total = 8 << 20
        /// Bytes outside of frames: banners, what start-up files print.
        var noise = 256 << 10
    }

    enum Violation: Error, Hashable, Sendable {
        case answerTooLong(number: Int)
        case tooMuch
        case tooMuchNoise
        /// A frame out of order, or no frame at all behind the separator.
        case disorder(String)
    }

    private struct Reader {
        /// Not yet told apart; begins after the last frame or what was handed on.
        var rest: [UInt8] = []
        /// The frame that is open.
        var number: Int?
        var content: [UInt8] = []
        var answers: [Int: (content: [UInt8], status: Int32)] = [:]
        var isDone = false
    }

    private let marker: [UInt8]
    private let limits: Limits
    private var output = Reader()
    private var errorOutput = Reader()
    private var total = 0
    private var noiseCount = 0
    /// The beginning of what was outside of frames, for messages.
    private(set) var noise: [UInt8] = []

    init(separator: String, limits: Limits = Limits()) {
        marker = Array("\n\(separator) ".utf8)
        self.limits = limits
    }

    /// Both streams have said that nothing more comes.
    var isComplete: Bool { output.isDone && errorOutput.isDone }

    /// Whether our shell has spoken at all.
    var hasBegun: Bool { output.number != nil || !output.answers.isEmpty || output.isDone }

    /// The command that has begun and not ended.
    var open: Int? { output.number ?? errorOutput.number }

    /// The answers that are complete on both streams.
    var answers: [Int: Answer] {
        var result: [Int: Answer] = [:]
        for (number, answer) in output.answers {
            guard let other = errorOutput.answers[number] else { continue }
            result[number] = Answer(status: answer.status, output: answer.content, errorOutput: other.content)
        }
        return result
    }

    mutating func take(_ bytes: [UInt8], from stream: Stream) throws(Violation) {
        total += bytes.count
        if total > limits.total { throw .tooMuch }
        switch stream {
        case .output:
            var reader = output
            output = Reader()
            defer { output = reader }
            try read(&reader, bytes)
        case .errorOutput:
            var reader = errorOutput
            errorOutput = Reader()
            defer { errorOutput = reader }
            try read(&reader, bytes)
        }
        if let number = open {
            let length = (output.number == number ? output.content.count : 0) + (errorOutput.number == number ? errorOutput.content.count : 0)
            if length > limits.answer { throw .answerTooLong(number: number) }
        }
    }

    private mutating func read(_ reader: inout Reader, _ bytes: [UInt8]) throws(Violation) {
        var rest = reader.rest + bytes
        while true {
            guard let start = Self.position(of: marker, in: rest) else { break }
            let after = start + marker.count
            guard let end = rest[after...].firstIndex(of: UInt8(ascii: "\n")) else {
                // Our lines are short: no line feed in sight is no line of ours.
                if rest.count - after > 64 { throw .disorder("a frame without end") }
                try hand(on: rest[..<start], &reader)
                reader.rest = Array(rest[start...])
                return
            }
            try hand(on: rest[..<start], &reader)
            try take(frame: rest[after..<end], &reader)
            rest = Array(rest[(end + 1)...])
        }
        // What may be the beginning of a separator stays.
        let kept = Self.longestEnd(of: rest, thatBegins: marker)
        try hand(on: rest.dropLast(kept), &reader)
        reader.rest = Array(rest.suffix(kept))
    }

    private mutating func hand(on bytes: ArraySlice<UInt8>, _ reader: inout Reader) throws(Violation) {
        guard !bytes.isEmpty else { return }
        if reader.number != nil {
            reader.content += bytes
        } else {
            if noise.count < 1024 { noise += bytes.prefix(1024 - noise.count) }
            noiseCount += bytes.count
            if noiseCount > limits.noise { throw .tooMuchNoise }
        }
    }

    private mutating func take(frame: ArraySlice<UInt8>, _ reader: inout Reader) throws(Violation) {
        let text = String(decoding: frame, as: UTF8.self)
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        func disorder() -> Violation { .disorder("a frame '\(text.prefix(64))' out of order") }
        if reader.isDone { throw disorder() }
        switch words.first {
        case "begin":
            guard words.count == 2, let number = Int(words[1]), number >= 0, reader.number == nil, reader.answers[number] == nil else {
                throw disorder()
            }
            reader.number = number
        case "end":
            guard words.count == 3, let number = Int(words[1]), number == reader.number, let status = Int32(words[2]), (0...255).contains(status)
            else {
                throw disorder()
            }
            reader.answers[number] = (reader.content, status)
            reader.content = []
            reader.number = nil
        case "done":
            guard words.count == 1, reader.number == nil else { throw disorder() }
            reader.isDone = true
        default: throw disorder()
        }
    }

    private static func position(of marker: [UInt8], in bytes: [UInt8]) -> Int? {
        guard bytes.count >= marker.count, let first = marker.first else { return nil }
        var index = 0
        let last = bytes.count - marker.count
        while index <= last {
            if bytes[index] == first, bytes[index..<(index + marker.count)].elementsEqual(marker) { return index }
            index += 1
        }
        return nil
    }

    private static func longestEnd(of bytes: [UInt8], thatBegins marker: [UInt8]) -> Int {
        var length = min(bytes.count, marker.count - 1)
        while length > 0 {
            if bytes.suffix(length).elementsEqual(marker.prefix(length)) { return length }
            length -= 1
        }
        return 0
    }
}
