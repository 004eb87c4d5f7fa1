/// A heading with what stands under it.
struct Section {
    var title: String
    var remark: String
    var groups: [Group]

    init(_ title: String, _ remark: String, _ groups: [Group]) {
        self.title = title
        self.remark = remark
        self.groups = groups
    }

    var count: Int { groups.reduce(0) { $0 + $1.count } }
}

/// Items that are opened and closed together. Each is written only where there may be room for it: a few megabytes of specs come to hundreds of
/// thousands.
struct Group {
    let open: String
    let count: Int
    let item: (Int) -> String
    let close: String

    init<Element>(open: String = "", of elements: [Element], close: String = "\n", _ item: @escaping (Element) -> String) {
        self.open = open
        count = elements.count
        self.item = { item(elements[$0]) }
        self.close = close
    }

    init(open: String = "", items: [String], close: String = "\n") { self.init(open: open, of: items, close: close) { $0 } }
}

struct Page {
    /// Bytes.
    let budget: Int
    private var text = ""
    private var left: [(count: Int, title: String)] = []

    /// For what is said of what was left out, whatever there is to say.
    private static let reserve = 1200
    /// So many items of a section that do not fit, each of another group, and no more are tried.
    private static let mostMisfits = 100

    init(budget: Int) { self.budget = budget }

    mutating func start(_ words: String) { text += words }

    /// Whole items or none; what is open can always be closed.
    mutating func add(_ section: Section) {
        let heading = "#### \(section.title)\n\n" + (section.remark.isEmpty ? "" : "\(section.remark)\n\n")
        var written = 0
        var misfits = 0
        var isHeaded = false
        for group in section.groups where misfits < Self.mostMisfits {
            var isOpen = false
            for index in 0..<group.count {
                let item = group.item(index)
                let start = (isHeaded ? "" : heading) + (isOpen ? "" : group.open)
                guard fits(start + item + group.close) else {
                    misfits += 1
                    break
                }
                text += start + item
                (isHeaded, isOpen) = (true, true)
                written += 1
            }
            if isOpen { text += group.close }
        }
        if section.count == 0, fits(heading) { text += heading }
        if written < section.count { left.append((section.count - written, section.title)) }
    }

    private func fits(_ piece: String) -> Bool { text.utf8.count + piece.utf8.count <= budget - Self.reserve }

    func finished(whole: String) -> String {
        if left.isEmpty { return text }
        let words = left.map { "\($0.count) under “\($0.title)”" }.joined(separator: ", ")
        return text + "**Left out, as there is no room for it:** \(words). All of it: \(whole)\n"
    }
}

/// The lines below an item, as many as fit in a few thousand bytes: one change must not take the room of all others.
///
/// - Parameter line: Called for as many as that.
func lines<Field>(_ fields: [Field], of what: String, _ line: (Field) -> String) -> String {
    var text = ""
    for (index, field) in fields.enumerated() {
        let line = line(field)
        guard text.utf8.count + line.utf8.count <= 4000 else { return text + "  - and \(fields.count - index) more \(what)\n" }
        text += "  - \(line)\n"
    }
    return text
}

func byTarget<Element>(_ elements: [Element], _ target: (Element) -> String) -> [(String, [Element])] {
    Dictionary(grouping: elements, by: target).sorted { $0.key < $1.key }
}
