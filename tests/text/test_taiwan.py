import opencc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyara_kedro.text.script import simplified_only
from kyara_kedro.text.taiwan import Change, leaks, to_taiwan
from kyara_kedro.text.vocabulary import (
    BOUNDARIES,
    IN_COMPUTING,
    LETTERS,
    OF_MODELS,
    PREFERRED,
    SEGMENTS,
    TAIWAN,
    UNAMBIGUOUS,
)

PAIRS = [
    ("什么是玉山？", "什麼是玉山？"),
    ("人口约65万人。", "人口約65萬人。"),
    ("65万人", "65萬人"),
    ("那么，玉山怎么走？", "那麼，玉山怎麼走？"),
    ("他的头发很长，发现问题后立即发言。", "他的頭髮很長，發現問題後立即發言。"),
    ("理发师在理发店里给她剪发。", "理髮師在理髮店裡給她剪髮。"),
    ("这种洗发水能让头发生长得更快。", "這種洗髮水能讓頭髮生長得更快。"),
    ("他白发苍苍，却仍在发展新事业。", "他白髮蒼蒼，卻仍在發展新事業。"),
    ("皇后之后，太后也来了。", "皇后之後，太后也來了。"),
    ("三天后，王后回到后宫。", "三天後，王后回到後宮。"),
    ("后羿射日的故事流传千年。", "后羿射日的故事流傳千年。"),
    ("前天后面的车撞了上来。", "前天後面的車撞了上來。"),
    ("他在里面等了三公里远的朋友。", "他在裡面等了三公里遠的朋友。"),
    ("邻里之间要互相帮助，里长也常来。", "鄰里之間要互相幫助，里長也常來。"),
    ("这里离故里有一千里。", "這裡離故里有一千里。"),
    ("克里斯和马里奥住在巴黎里昂车站附近。", "克里斯和馬里奧住在巴黎里昂車站附近。"),
    ("妈妈煮的面条比方便面好吃。", "媽媽煮的麵條比泡麵好吃。"),
    ("他当面拒绝，对方面子挂不住。", "他當面拒絕，對方面子掛不住。"),
    ("面粉价格上涨，面包店面临困难。", "麵粉價格上漲，麵包店面臨困難。"),
    ("中文系的学生联系老师，讨论语言体系。", "中文系的學生聯繫老師，討論語言體系。"),
    ("请系好安全带，这关系到你的安全。", "請繫好安全帶，這關係到你的安全。"),
    ("干部不干活，衣服也没有晒干。", "幹部不幹活，衣服也沒有曬乾。"),
    ("乾隆皇帝的饼干很干净。", "乾隆皇帝的餅乾很乾淨。"),
    ("敌军的干扰与干涉，没有影响主干道。", "敵軍的干擾與干涉，沒有影響主幹道。"),
    ("他恢复健康后，重复做复杂的实验。", "他恢復健康後，重複做複雜的實驗。"),
    ("请复印这份文件，并回复邮件。", "請複印這份文件，並回復郵件。"),
    ("收到反复的批复让人困惑。", "收到反覆的批覆讓人困惑。"),
    ("台风登陆台湾，电台的播音员站上讲台。", "颱風登陸臺灣，電台的播音員站上講台。"),
    ("这台机器放在柜台上。", "這台機器放在櫃檯上。"),
    ("游客在龙游县参加游园会。", "遊客在龍游縣參加遊園會。"),
    ("我了解了，你吃了吗？", "我了解了，你吃了嗎？"),
    ("他瞭望远方，一目了然。", "他瞭望遠方，一目瞭然。"),
    ("天气预报不准，所以不准出门。", "天氣預報不准，所以不准出門。"),
    ("准备工作必须准确，标准要统一。", "準備工作必須準確，標準要統一。"),
    ("制造业的制度和制服都改了。", "製造業的制度和制服都改了。"),
    ("他杰出的表现获得岳父的称赞。", "他傑出的表現獲得岳父的稱讚。"),
    ("刚才他才知道自己的才能。", "剛才他才知道自己的才能。"),
    ("松树下的土很松软，他放松下来。", "松樹下的土很鬆軟，他放鬆下來。"),
    ("要塞外发生冲突，士兵冲锋陷阵。", "要塞外發生衝突，士兵衝鋒陷陣。"),
    ("用开水冲茶，冲洗照片。", "用開水沖茶，沖洗照片。"),
    ("云南的白云很美，古人云：天下为公。", "雲南的白雲很美，古人云：天下為公。"),
    ("这个小丑长得很丑，丑时才睡。", "這個小丑長得很醜，丑時才睡。"),
    ("几个人坐在茶几旁，几乎睡着了。", "幾個人坐在茶几旁，幾乎睡著了。"),
    ("他们在斗争中用了一斗米。", "他們在鬥爭中用了一斗米。"),
    ("山谷里种满稻谷，五谷丰登。", "山谷裡種滿稻穀，五穀豐登。"),
    ("占卜师吃了萝卜。", "占卜師吃了蘿蔔。"),
    ("咸鱼太咸，咸丰年间就有了。", "鹹魚太鹹，咸豐年間就有了。"),
    ("向阳的房间向来很贵。", "向陽的房間向來很貴。"),
    ("胡同里的老人留着胡须，爱拉胡琴，不胡说。", "胡同裡的老人留著鬍鬚，愛拉胡琴，不胡說。"),
    ("朱先生穿朱红色衣服。", "朱先生穿朱紅色衣服。"),
    ("技术与武术都需要练习。", "技術與武術都需要練習。"),
    ("范先生、钟小姐和于教授都来参加规范会议。", "范先生、鍾小姐和于教授都來參加規範會議。"),
    ("范仲淹写了《岳阳楼记》。", "范仲淹寫了《岳陽樓記》。"),
    ("敲钟的人看了看手表，钟头已到。", "敲鐘的人看了看手錶，鐘頭已到。"),
    ("表面上看，表格里的表姐戴着金表。", "表面上看，表格裡的表姐戴著金錶。"),
    ("剩余的钱还有十余万元，余先生拿走了。", "剩餘的錢還有十餘萬元，余先生拿走了。"),
    ("周末周先生周游列国。", "週末周先生周遊列國。"),
    ("一只猫只有一只眼睛，只能看见前方。", "一隻貓只有一隻眼睛，只能看見前方。"),
    ("征服自然，征收税款，都有其特征。", "征服自然，徵收稅款，都有其特徵。"),
    ("志愿者在杂志社写下自己的志向。", "志願者在雜誌社寫下自己的志向。"),
    ("注意注释，注册时要注明。", "注意註釋，註冊時要註明。"),
    ("他把钥匙卷起来，放进试卷里。", "他把鑰匙捲起來，放進試卷裡。"),
    ("钢铁厂生产针，布料厂发布公告。", "鋼鐵廠生產針，布料廠發布公告。"),
    ("采访的记者采摘了水果，神采飞扬。", "採訪的記者採摘了水果，神采飛揚。"),
    ("蜡烛和腊肉都卖完了。", "蠟燭和臘肉都賣完了。"),
    ("他家的家具是家传的，国家具有主权。", "他家的家具是家傳的，國家具有主權。"),
    ("吃完饭，喝碗汤，洗完碗再走。", "吃完飯，喝碗湯，洗完碗再走。"),
    ("老师凶了他一顿，说凶手已被抓。", "老師兇了他一頓，說兇手已被抓。"),
    ("他舍不得离开宿舍。", "他捨不得離開宿舍。"),
    ("丰收的季节，物产丰富。", "豐收的季節，物產豐富。"),
    ("汇率变化，词汇量增加，汇报工作。", "匯率變化，詞彙量增加，彙報工作。"),
    ("仆人前仆后继。", "僕人前仆後繼。"),
    ("丝绸之路上的游牧民族。", "絲綢之路上的游牧民族。"),
    ("历史上的日历和历法各有来历。", "歷史上的日曆和曆法各有來歷。"),
    ("饥饿与饥荒不同。", "飢餓與饑荒不同。"),
    ("他叹了口气，感叹人生。", "他嘆了口氣，感嘆人生。"),
    ("适合的环境适应得快。", "適合的環境適應得快。"),
    ("这个软件的默认设置可以在菜单里修改。", "這個軟體的預設設置可以在菜單裡修改。"),
    ("打印机连接到局域网，打印速度很快。", "印表機連接到區域網路，列印速度很快。"),
    ("人工智能算法需要大量数据和高性能芯片。", "人工智慧演算法需要大量資料和高性能晶片。"),
    ("程序员用编程语言写代码，数据保存在硬盘。", "程式設計師用程式語言寫代碼，資料保存在硬碟。"),
    ("他定义变量、数组和字符串。", "他定義變數、陣列和字串。"),
    ("服务器的带宽不足，网络视频卡顿。", "伺服器的頻寬不足，網路影片卡頓。"),
    ("笔记本电脑的屏幕和鼠标都坏了。", "筆記型電腦的螢幕和滑鼠都壞了。"),
    ("手机短信和电子邮箱都能收到信息。", "手機簡訊和電子信箱都能收到資訊。"),
    ("多数组织放宽了攻打印度的命令。", "多數組織放寬了攻打印度的命令。"),
    ("科技界面临挑战，观众在沉默。", "科技界面臨挑戰，觀眾在沉默。"),
    ("出租车司机在地铁站等乘客。", "計程車司機在地鐵站等乘客。"),
    ("意大利和新西兰的球队进入世界杯决赛。", "義大利和紐西蘭的球隊進入世界盃決賽。"),
    ("特朗普在悉尼发表演讲。", "川普在雪梨發表演講。"),
    ("他买了土豆、西红柿、菠萝和酸奶。", "他買了馬鈴薯、番茄、鳳梨和優格。"),
    ("空气质量和产品质量都很重要。", "空氣品質和產品品質都很重要。"),
    ("面积是五十平方米，厚度两厘米。", "面積是五十平方公尺，厚度兩公分。"),
    ("激光打印和纳米技术的概率分布。", "雷射列印和奈米技術的機率分布。"),
    ("U盘里的视频文件已经损坏。", "隨身碟裡的影片文件已經損壞。"),
    ("移动电话和移动支付改变了生活。", "行動電話和行動支付改變了生活。"),
    ("知识产权保护很重要。", "智慧財產權保護很重要。"),
    ("火药被发明，参与制造的人改变了历史。", "火藥被發明，參與製造的人改變了歷史。"),
    ("电线杆和杠杆都很重。", "電線桿和槓桿都很重。"),
    ("吸烟有害健康，请不要抽烟。", "吸菸有害健康，請不要抽菸。"),
    ("全世界面临国内存款减少的问题。", "全世界面臨國內存款減少的問題。"),
    ("他们修改了预算法，方便面对面讨论。", "他們修改了預算法，方便面對面討論。"),
    ("以太网络和局域网络都属于互联网络。", "乙太網路和區域網路都屬於網際網路。"),
    ("他们正在讨论导弹和空间站。", "他們正在討論飛彈和太空站。"),
    ("“你好，”他说，“欢迎来到‘台湾’。”", "「你好，」他說，「歡迎來到『臺灣』。」"),
    ("他在旅游时到河里游泳，还迷了路。", "他在旅遊時到河裡游泳，還迷了路。"),
    ("回家的路迂回曲折，他边走边想。", "回家的路迂迴曲折，他邊走邊想。"),
    ("这位小姐姓余，其余的人姓游。", "這位小姐姓余，其餘的人姓游。"),
    ("大家都说：钟理和是台湾作家。", "大家都說：鍾理和是臺灣作家。"),
    ("发动机包括发电机和发射装置。", "發動機包括發電機和發射裝置。"),
    ("五一劳动节后，旅长发展了新战术。", "五一勞動節後，旅長發展了新戰術。"),
    ("两天后的会议讨论改制问题。", "兩天後的會議討論改制問題。"),
    ("他获得奖杯，成为欧洲杯的传奇。", "他獲得獎盃，成為歐洲盃的傳奇。"),
    ("埃里克和塔里克在里斯本见面。", "埃里克和塔里克在里斯本見面。"),
    ("家里养的狗和院里养的猫打架。", "家裡養的狗和院裡養的貓打架。"),
    ("云端的数据库和云计算平台。", "雲端的資料庫和雲端運算平台。"),
    ("这座桥梁的栏杆断了。", "這座橋梁的欄杆斷了。"),
    ("凭借借口推托，拜托别人。", "憑藉藉口推託，拜託別人。"),
    ("她把头发卷成卷发，准备出发。", "她把頭髮捲成捲髮，準備出發。"),
    ("他的症状是便秘，不是征兆。", "他的症狀是便秘，不是徵兆。"),
    ("这所学校的校舍很旧。", "這所學校的校舍很舊。"),
    ("他们秋天收获了许多水果，获得好评。", "他們秋天收穫了許多水果，獲得好評。"),
    ("那里的百姓姓姜，爱吃姜。", "那裡的百姓姓姜，愛吃薑。"),
    ("他们为了台风准备了面包、面具和口罩。", "他們為了颱風準備了麵包、面具和口罩。"),
]  # fmt: skip
TRADITIONAL = [
    "他了解干擾的來源。",
    "老么在里長家。",
    "鄉里的人在丑時起床。",
    "了解", "干擾", "老么", "里長", "鄉里", "丑時",
    "皇后和王后都姓范，后羿姓后。",
    "范仲淹、鍾理和、余光中、于右任、岳飛、干將與莫邪。",
    "里奇和克里斯來自里昂，住在塔里木。",
    "表裡不一的人藏在里弄裡，公里數不明。",
    "頭髮、發現、麵粉、面子、中文系、關係、繫鞋帶。",
    "乾隆、餅乾、幹部、干涉；恢復、重複、答覆。",
    "臺灣的平台，遊客在游泳；一目了然，瞭望台。",
    "批准、標準、制度、製造、傑出、李連杰、岳父、五嶽。",
    "方才、松樹、放鬆、沖洗、衝突、云云、白雲、小丑、醜陋。",
    "茶几、幾乎、斗六、鬥爭、山谷、稻穀、占卜、蘿蔔、咸豐、鹹魚。",
    "向來、嚮往、胡同、胡適、回家、迂迴、尸位素餐、朱先生、術語、白朮。",
    "家徒四壁、一出好戲、一齣戲、凶手、仆街、吁嘆、折扣、征服、只有一隻。",
    "因為經濟拮据，唇腭裂與帶狀疱疹的手術、胜肽、腥膻和養疴都沒錢處理。",
    "電晶體管腳、電晶體管理、滑鼠標示、老鼠標本、掃描儀器、服務器材、觸摸屏幕。",
    "來源代碼、能源代碼；方便面對面談；獲悉尼泊爾地震、熟悉尼加拉瓜；感激光臨。",
    "大概率領三千人；粉紅細胞；奧迪拜訪；蛋白細胞；同意大家的意見。",
    "陳添枝說：「我愛吃腊味。」明目張胆，久病体虚。",
    "Only English, no Chinese.",
    "",
]  # fmt: skip
LEFT_ALONE = {
    "Japanese": "学校・国会で議論する。",
    "a Japanese name": "（日語：国立国会図書館，こくりつ）是日本的圖書館。",
    "kanji alone": "他念早稲田大学，來自広島県，搭国鉄。",
    "kanji where Japan is named": "日本的国会位於東京。",
    "a Japanese title": "《君の名は。》是動畫，《浜辺の国》也是。",
    "code": "看 `这个` 吧\n```python\nprint('这个软件')\n```",
    "URLs": "看 https://a.tw/wiki/这个软件?q=发展 吧",
    "paths": "存到 /home/用户/文档.txt 或 C:\\用户\\软件\\a.exe 或 (./图片/国.png)",
    "what is named as Simplified": "臺北（簡體：台湾国；Taipei），大陸稱「软件」，簡化字作「发」。",
    "words of titles": "《軟件時代》和〈人工智能〉是書。",
    "mentions": "這個「軟件」和『硬盤』是什麼意思？",
    "organisations": "中國軟件行業協會與金山軟件股份有限公司",
    "words with a use in Taiwan": "信息、網絡、視頻、數據、質量、屏幕、塑料、黑客松、刺激光線",
}


@pytest.mark.parametrize(("simplified", "taiwan"), PAIRS)
def test_a_simplified_sentence_becomes_taiwans_and_stays(simplified: str, taiwan: str) -> None:
    assert to_taiwan(simplified).text == taiwan
    assert to_taiwan(taiwan) == (taiwan, ())


@pytest.mark.parametrize("text", TRADITIONAL)
def test_traditional_text_is_left_alone(text: str) -> None:
    assert to_taiwan(text) == (text, ())


@pytest.mark.parametrize(
    "text", ["程式：\n```\n这个软件\n", "里后干了台丑范余么只面云", "明目張胆"]
)
def test_what_is_left_alone_on_its_own(text: str) -> None:
    assert to_taiwan(text) == (text, ())


@pytest.mark.parametrize("what", LEFT_ALONE)
def test_what_is_left_alone(what: str) -> None:
    text = LEFT_ALONE[what]
    assert to_taiwan(text) == (text, ())
    assert to_taiwan(f"{text}\n这是软件。") == (
        f"{text}\n這是軟體。",
        (Change(len(text) + 1, len(text) + 5, "这是软件", "這是軟體", "script"),),
    )


@pytest.mark.parametrize(
    ("simplified", "taiwan"),
    [
        ("改变量子比特的状态。", "改變量子位元的狀態。"),
        ("电视频道和简短信息", "電視頻道和簡短資訊"),
        ("我们了解程序正义。", "我們了解程序正義。"),
        ("他说：“‘干部’来了。”", "他說：「『幹部』來了。」"),
        ("参与制造的范先生被发现", "參與製造的范先生被發現"),
        ("我愛の味道这家店很好吃", "我愛の味道這家店很好吃"),
        ("他讲解《软件工程》。", "他講解《軟件工程》。"),
        ("“Hello”这个词", "“Hello”這個詞"),
        ("请寄到 a.b@c.com 这个邮箱", "請寄到 a.b@c.com 這個郵箱"),
        ("和/或这个软件/硬件", "和/或這個軟體/硬體"),
        ("这里", "這裡"),
        ("一个硬盤", "一個硬碟"),
    ],
)
def test_simplified_text_is_converted(simplified: str, taiwan: str) -> None:
    assert to_taiwan(simplified).text == taiwan


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("這個软件很好用", [("软件", "軟體", "script")]),
        ("這個軟件很好用", [("軟件", "軟體", "vocabulary")]),
        ("鄉里的干擾，这是了解", [("这", "這", "script")]),
        ("里長說这里很好，后來", [("这里", "這裡", "script")]),
        ("這裡有一個联系人", [("联系", "聯繫", "script")]),
        ("他讀《半生缘》和《後天》", [("半生缘", "半生緣", "script")]),
        ("臺灣的頭髮和头发", [("头发", "頭髮", "script")]),
        (
            "他用鼠標和打印機，在意大利。",
            [
                ("鼠標", "滑鼠", "vocabulary"),
                ("打印機", "印表機", "vocabulary"),
                ("意大利", "義大利", "vocabulary"),
            ],
        ),
        (
            "这是“干部”",
            [
                ("这是", "這是", "script"),
                ("“", "「", "quotes"),
                ("干部", "幹部", "script"),
                ("”", "」", "quotes"),
            ],
        ),
    ],
)
def test_only_what_is_simplified_or_mainland_changes(
    text: str, found: list[tuple[str, str, str]]
) -> None:
    changed = to_taiwan(text).changed
    assert [(c.before, c.after, c.kind) for c in changed] == found
    assert all(text[c.start : c.end] == c.before for c in changed)


def test_only_simplified_clauses_of_a_mixed_text_change() -> None:
    text = "臺灣的里長說：「这个软件很好，后来打印了。」他了解。"
    converted = to_taiwan(text)
    assert converted.text == "臺灣的里長說：「這個軟體很好，後來列印了。」他了解。"
    (change,) = converted.changed
    assert text[change.start : change.end] == change.before == "这个软件很好，后来打印了"
    assert change.after == "這個軟體很好，後來列印了"


def test_a_clause_without_evidence_follows_its_line_and_a_line_its_text() -> None:
    assert to_taiwan("后天（干部）来这里。").text == "後天（幹部）來這裡。"
    assert to_taiwan("后天（干部）來這裡。").text == "后天（干部）來這裡。"
    assert to_taiwan("这是标题\n\n里面有干部。").text == "這是標題\n\n裡面有幹部。"
    text = "这是标题\n\n里面有干部。\n\n鄉里的干擾已經發生，里長了解。"
    assert to_taiwan(text).text == text.replace("这", "這").replace("标题", "標題")


def test_leaks_are_reported_where_they_are_not_repaired() -> None:
    text = "這個「軟件」的信息和網絡，在鼠標裡；这里"
    repaired = to_taiwan(text).changed
    assert [change.before for change in repaired] == ["鼠標", "这里"]
    assert [(c.before, c.after) for c in leaks(text)] == [
        ("信息", "資訊"),
        ("網絡", "網路"),
        ("鼠標", "滑鼠"),
        ("这里", "這裡"),
    ]
    assert leaks("臺灣的里長了解資訊。") == ()


OF_A_MODEL = (
    "視頻網站的用戶通過網絡獲取信息和數據，服務器的帶寬與內存要足夠，並優化屏幕分辨率",
    "影音網站的用戶通過網路獲取資訊和數據，伺服器的頻寬與記憶體要足夠，並優化螢幕解析度",
)


def test_words_that_a_model_took_from_the_mainland_are_repaired() -> None:
    before, after = OF_A_MODEL
    assert [change.before for change in to_taiwan(before).changed] == ["服務器"]
    assert to_taiwan(before, written_by_model=True).text == after
    assert len(leaks(before)) == 9
    assert [change.before for change in leaks(after)] == ["數據"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("電腦的內存不足。", "電腦的記憶體不足。"),
        ("他在視頻裡介紹用戶界面。", "他在影片裡介紹使用者介面。"),
        ("打開軟件後選擇默認的文件夾。", "打開軟體後選擇預設的資料夾。"),
        ("界面活性劑能降低表面張力。", "界面活性劑能降低表面張力。"),
        ("他默認了對方的說法。", "他默認了對方的說法。"),
        ("村落之間形成交易網絡。", "村落之間形成交易網絡。"),
        ("國內存款增加，體內存在抗體。", "國內存款增加，體內存在抗體。"),
        ("電腦公司的多數組織都放寬帶薪休假。", "電腦公司的多數組織都放寬帶薪休假。"),
        ("軟體的用戶名單明顯卡在伺服器。", "軟體的用戶名單明顯卡在伺服器。"),
        ("手機業者兼容並蓄，科技界面臨挑戰。", "手機業者兼容並蓄，科技界面臨挑戰。"),
        ("林帶寬約三公里。", "林帶寬約三公里。"),
        ("影視頻道與電視頻道播放節目。", "影視頻道與電視頻道播放節目。"),
        ("大陸稱「視頻」，電腦的`內存`不改。", "大陸稱「視頻」，電腦的`內存`不改。"),
    ],
)
def test_what_a_model_wrote_is_repaired_by_its_context(before: str, after: str) -> None:
    assert to_taiwan(before, written_by_model=True).text == after


LETTERS_OF_TEXT = st.sampled_from(
    "这個國国学会里后干了解么范先生发明改变量子着网頭。，“”‘’「」《》（`~/ の・日本大陸稱：\n a."
)
WORDS = st.sampled_from(sorted([*UNAMBIGUOUS, *TAIWAN.values(), *SEGMENTS, *BOUNDARIES]))
SNIPPETS = st.one_of(
    LETTERS_OF_TEXT, WORDS, st.sampled_from(["軟件", "硬盤", "鼠標", "简体：", "。这"])
)


@given(st.lists(SNIPPETS, max_size=40).map("".join))
def test_converting_twice_changes_nothing_more(text: str) -> None:
    for of_model in (False, True):
        once = to_taiwan(text, written_by_model=of_model)
        assert to_taiwan(once.text, written_by_model=of_model) == (once.text, ())


@given(st.lists(SNIPPETS, max_size=40).map("".join))
def test_what_is_repaired_is_reported_too(text: str) -> None:
    of_model = to_taiwan(text, written_by_model=True).changed
    assert set(to_taiwan(text).changed) <= set(of_model) <= set(leaks(text))


@pytest.mark.parametrize("word", sorted(TAIWAN))
def test_every_word_of_the_vocabulary_is_found(word: str) -> None:
    written = opencc.OpenCC("s2tw").convert(word)
    found = leaks(f"甲{written}乙")
    assert written == TAIWAN[word] or len(word) == 1 or found


@given(st.lists(SNIPPETS, max_size=40).map("".join))
def test_changes_are_in_order_and_say_what_was_there(text: str) -> None:
    for changed in (to_taiwan(text).changed, leaks(text)):
        assert all(text[c.start : c.end] == c.before != c.after for c in changed)
        ends = [0, *(change.end for change in changed)]
        assert all(end <= change.start for end, change in zip(ends, changed, strict=False))


@given(st.text(st.characters() | st.sampled_from("这个\0\ud800")))
def test_any_text_is_taken(text: str) -> None:
    assert to_taiwan(to_taiwan(text).text).changed == ()


@pytest.mark.parametrize("piece", ["簡體「", "大陸稱「软", "/a", "《里", "“里", "`这"])
def test_marks_that_are_never_closed_take_no_time_by_their_square(piece: str) -> None:
    assert to_taiwan("这" + piece * 50_000).text.startswith("這")


def test_what_opencc_cannot_take_is_kept() -> None:
    assert to_taiwan("这\0软件\ud800里").text == "這\0軟體\ud800裡"


def test_vocabulary_has_simplified_keys_and_taiwanese_values() -> None:
    assert not SEGMENTS.keys() & TAIWAN.keys()
    assert not BOUNDARIES & (SEGMENTS.keys() | TAIWAN.keys())
    assert TAIWAN.keys() >= UNAMBIGUOUS | OF_MODELS | IN_COMPUTING
    assert not UNAMBIGUOUS & OF_MODELS
    assert not IN_COMPUTING & (UNAMBIGUOUS | OF_MODELS)
    values = "".join([*SEGMENTS.values(), *TAIWAN.values(), *LETTERS.values()])
    values += "".join(map(chr, PREFERRED.values()))
    assert not set(values) & simplified_only()


@pytest.mark.parametrize("word", sorted(UNAMBIGUOUS))
def test_an_unambiguous_word_is_repaired_in_traditional_characters(word: str) -> None:
    after = TAIWAN[word]
    simplified = to_taiwan(f"这里有{word}了").text
    assert simplified == f"這裡有{after}了"
    assert to_taiwan(after).changed == ()
