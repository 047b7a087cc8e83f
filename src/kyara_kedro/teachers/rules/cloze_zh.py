"""Questions from Traditional Chinese sentences: the wh-word stands where the answer stood.

Chinese keeps the word order in questions (「他在1912年提出」, 「他在哪一年提出」), so a question
is a sentence with one span replaced. The rules are few and strict: a sentence that leans on its
neighbours gives no question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from kyara_kedro.teachers.rules.cloze import Blank, Cloze
from kyara_kedro.text.chunk import sentences
from kyara_kedro.text.fold import fold

_HAN = "\u4e00-\u9fff"
_NUMERAL = "一二三四五六七八九十百千萬億兩〇零"
_JOINED_BEFORE = r"(?<!\d，)(?<!\d[,，] )(?<![\d.,/第點至到~～∼〜\-–—－－和與及或、])"
_JOINED_AFTER = r"(?![至到~～∼〜\-–—－和與及或、]\s*[\d一二三四五六七八九十])(?!之間)"

_ERAS = "民國|光緒|同治|咸豐|道光|嘉慶|乾隆|雍正|康熙|順治|崇禎|萬曆|昭和|大正|明治|平成"
_DATE = re.compile(
    rf"{_JOINED_BEFORE}(?<![公西]元)(?<!元前)(?P<era>(?:公元|西元)?前?|{_ERAS})"
    rf"(?P<year>\d{{1,4}}|[{_NUMERAL}元]{{1,4}})年(?P<month>\d{{1,2}}月|[{_NUMERAL}]{{1,3}}月)?+"
    rf"(?P<day>\d{{1,2}}日|[{_NUMERAL}]{{1,3}}日)?+{_JOINED_AFTER}(?![代度級底初末中春夏秋冬"
    rf"齡份間來])"
    rf"(?!以[前後來])(?!之?[前後])(?!左右|正日|裡|之久|的?(?:歷史|發展史))(?![{_NUMERAL}\d])"
)
_NOT_WHEN = re.compile(r"(?:超過|長達|歷時|經過|將近|之後的|使得?|讓|令|因為?|由於)在?$")
"""Words before a number of years that lasted, and before a clause that should not begin so."""
_UNITS = (
    "平方公里|千米|千克|平方公尺|立方公尺|立方公分|公里|公尺|公分|公釐|毫米|厘米|奈米|微米|海"
    "里|英里|英"
    "尺|英寸|光年"
    "|公頃|公噸|公斤|公克|毫克|噸|公升|毫升|克拉|千瓦|瓩|赫茲|攝氏度|度|個百分點|個月|個星期|"
    "個小時|小時|分鐘"
    "|秒鐘|星期|歲|天|人次|人|位|名|座|種|項|條|所|家|艘|架|隻|頭|棟|層|支|枚|顆|部|本|篇|首|"
    "幅|張|塊|根|台|輛"
    "|件|場|屆|戶|縣|州|省|國|個|倍|美元|日圓|日元|歐元|英鎊|新臺幣|元|字|頁|集|級|克|米|年"
)
_NUMBER = re.compile(
    rf"{_JOINED_BEFORE}(?<![{_NUMERAL}分數前元幾A-Za-z])(?P<value>\d[\d,]*(?:\.\d+)?(?:多|餘)"
    rf"?[百千萬"
    rf"億兆]*(?:多|餘)?"
    rf"|[{_NUMERAL}]{{1,8}}(?:多|餘)?)(?P<unit>{_UNITS}){_JOINED_AFTER}(?![{_NUMERAL}\d])"
    rf"(?!性|體|類|民|口|型|級|以上的|之一|世紀|家|王|際|國|代|度|道|半|多|的第|中的|/)"
    r"(?!(?<=本)[地身土國港]|(?<=名)[義叫為稱]|(?<=位)[於在置]|(?<=部)[分落隊門]|(?<=首)[次先都府相]"
    r"|(?<=人)[口類民員士物]|(?<=條)[約件]|(?<=項)目|(?<=支)[持付]|(?<=根)[據本]|(?<=台)[灣幣北]"
    r"|(?<=場)[所地]|(?<=集)團|(?<=元)[年旦素朝]|(?<=天)[然空]|(?<=種)[族子植]|(?<=層)次|(?<=戶)[口籍])"
)
_SPANS = frozenset({"年", "個月", "天", "小時", "個小時", "分鐘", "星期", "個星期"})
_PERCENT = re.compile(
    rf"{_JOINED_BEFORE}(?P<value>\d[\d.]*\s?[%％]|百分之[{_NUMERAL}\d][{_NUMERAL}\d點.]*)"
    rf"{_JOINED_AFTER}"
)
_ORDINAL = re.compile(
    rf"第(?P<value>[{_NUMERAL}]{{1,3}}|\d{{1,2}})(?P<unit>大|高(?!等|中|級)|長|多|位|任|屆|座"
    rf")(?=[{_HAN}])"
)

_ROLE = (
    "學家|科學家|醫師|醫生|總統|皇帝|國王|女王|教宗|作家|詩人|畫家|工程師|建築師|傳教士|牧師|"
    "總督|巡撫|知府|將軍|導演"
    "|商人|企業家|僧人|藝術家|攝影師|設計師|發明家|航海家|探險家|思想家|政治家|作曲家|音樂家|"
    "教授|學者|院士|神父"
    "|法師|選手|軍官|市長|縣長|首相|總理|主席|部長|匠師|專家|船長|醫官|隊長|文人|廚師|記者|律"
    "師|修士|官員|技師|書法家"
)
_NAME = rf"(?:[{_HAN}]{{1,7}}(?:[·‧・][{_HAN}]{{1,8}}){{1,3}}|[{_HAN}]{{2,6}}?)"
_ACTS = (
    "提出|發明|發現|設計|建立|創立|創辦|撰寫|寫下|寫成|編寫|完成|證明|主持|擔任|率領|帶領|認"
    "為|指出|主張|發表|出版"
    "|發起|製成|繪製|拍攝|興建|修建|建造|開闢|推動|引進|創造|創作|改良|研發|開發|登上|抵達|首"
    "次|首先|率先|最早"
    "|測出|量出|觀察|觀測|獲得|合成|分離|翻譯|編纂|建議|預言|預測|命名|繼位|即位|登基|出任|當"
    "選|執導|發行|製作"
)
_ROLE_NAME = re.compile(
    rf"(?:^|(?<=[，；由被]))(?P<role>[{_HAN}]{{0,8}}?(?:{_ROLE}))(?P<name>{_NAME})"
    rf"(?=(?:在|於|將|把|以|曾|從)(?!內)|{_ACTS})"
)
_NOT_ROLE = re.compile(
    r"^[於這那此該因為由從當向被讓對與和將把而等]|不過|一些|許多|不少|某些|其後|之後|其他|各|部分"
    r"|有些|多位|[和與及]"
)
_SURNAMES = (
    "王李張劉陳楊黃趙周吳徐孫朱胡郭何林羅鄭梁謝宋唐許韓馮鄧曹彭曾蕭田董袁潘蔣蔡余杜葉程蘇魏呂"
    "丁任沈姚盧姜崔鍾譚陸汪"
    "范金石廖賈夏韋傅方鄒孟熊秦邱江尹薛閻段雷侯龍史陶黎賀顧毛郝龔邵萬錢嚴戴莫孔向湯"
)
_SOUNDS = (
    "阿埃艾安奧巴貝比波伯布查達戴德迪蒂多恩爾法菲佛夫弗福格哈赫霍基加卡凱科可克庫拉萊蘭勒雷里利林倫羅"
    "洛魯馬麥曼梅米密莫姆穆納內尼諾努帕佩皮普奇喬瑞薩賽桑塞沙施什史斯蘇索塔泰坦特提托圖瓦萬威韋維沃溫"
    "烏西希謝休伊亞耶尤約澤扎詹朱茲雅莉莎娜妮琳絲班保華哥倫登頓森道丹"
)
"""Ideographs that write the sounds of foreign names."""
_IS_NAME = re.compile(
    rf"[·‧・]|^[{_SURNAMES}][{_HAN}]{{1,2}}$|^[{_SOUNDS}]{{2,6}}(?:[一二三四五六七八九十]{{1,3}}世)?$"
)
_NOT_IN_NAME = re.compile(
    r"[的和與及等們之是有在於為年已也仍都還並從將把曾向對]|普遍|[早即便就先則]$|公布"
)
_SURNAME_NAME = re.compile(
    rf"(?:^|(?<=[，；年]))(?P<name>(?!曾[經在於被任為])[{_SURNAMES}](?![{_HAN}]?[國朝家氏省市縣島山河])[{_HAN}]{{1,2}})"
    rf"(?=發明|撰寫|寫下|寫成|著有|率領|主持|提出|證明|擔任|即位|登基|繼位|發現|創辦|創立|執"
    rf"導|出任|當選|設計|編寫)"
)
_AGENT = re.compile(
    rf"(?<=由)(?P<name>[{_HAN}A-Za-z·‧・ 、]{{2,18}}?)(?P<act>所?(?:創立|創辦|創建|建立|成立|"
    rf"發明|發現|設計|建造|興建|修建|"
    rf"開發|研發|製作|製造|出版|發行|撰寫|編寫|編著|創作|執導|主持|提出|命名|管理|營運|經營|"
    rf"主辦|統治|率領|領導|翻譯|"
    rf"作曲|作詞|繪製|演唱|飾演|開創|發起|推動|引進|編纂|擔任))(?!者)"
)
_BODIES = (
    (re.compile(r"(?:公司|集團|企業|銀行|書局|出版社)$"), "哪一家公司"),
    (re.compile(r"(?:大學|學院|中學|學校)$"), "哪一所學校"),
    (
        re.compile(
            r"(?:政府|委員會|協會|學會|基金會|組織|機構|部|局|署|處|院|隊|團|會|所|中心|公所)$"
        ),
        "哪一個單位",
    ),
)
_PERSON = re.compile(
    rf"(?:{_ROLE})[{_HAN}]|[·‧・]|^[{_SURNAMES}][{_HAN}]{{1,2}}(?:[和與、及][{_HAN}]{{2,3}})?$"
)
_NOT_PERSON = re.compile(r"[國州省市縣族人軍]$|們|各|不同|自己|多個|許多|政")

_PLACE = re.compile(
    r"(?:位於|位在|坐落於|座落於|坐落在|設於|設在|葬於|定都於|首都是|首都為|首府是|首府為|省"
    r"會是)"
    r"(?P<place>[^，。；：！？、（(「《\d]{2,18})(?=[，。；]|$)"
)
_ORIGIN = re.compile(
    r"(?:發源於|發源自|出生於|生於|起源於|源自|原產於|遷至|遷到|流經|流入|注入)"
    rf"(?P<place>[{_HAN}·]{{2,12}}(?:國|洲|省|市|縣|州|島|山|山脈|地區|海|河|江|湖|谷|盆地|高"
    rf"原|半島|大陸|城|鎮|鄉|村|部))"
    r"(?=[，。；]|$)"
)
_WORK_NOUNS = (
    "小說|電影|影片|電視劇|動畫|漫畫|遊戲|歌曲|專輯|單曲|詩集|散文|著作|論文|戲劇|"
    "歌劇|小冊子|雜誌|報紙|期刊|字典|詞典|史書|專書|書籍|紀錄片|名著|畫作"
)
_WORK = re.compile(
    rf"(?P<noun>{_WORK_NOUNS})?《(?P<work>[^《》]{{2,20}})》(?P<after>一書|一文)?(?![、和與及]?《)"
)
_WRITES = re.compile(
    r"(?:著有|撰寫|寫成|寫下|編寫|編纂|完成|出版|發表|創作|拍攝|著作|所著|寫了|出版了|完成了|"
    r"繪製)的?$"
)
_BEFORE_NOUN = re.compile(r"(?:^|[的了以為於在將把演寫作版表行著，])$")
_WORK_KINDS = (
    (re.compile(r"(?:條約|協定|公約|和約|協議|協議書|盟約)$"), "哪一項條約"),
    (re.compile(r"(?:法|法案|條例|憲法|法典|律)$"), "哪一部法律"),
    (
        re.compile(
            r"(?:宣言|宣告|聯合公報|公告|聲明|綱要|綱領|草案|計畫|計劃|決議|報告|報告書|章程)$"
        ),
        "哪一份文件",
    ),
    (re.compile(r"(?:報|雜誌|月刊|週刊|周刊|半月刊|季刊)$"), "哪一份報刊"),
)
_WORK_CLASSES = ("條約", "和約", "協定", "法律", "法案", "文件", "憲法")
_CALLED = re.compile(
    r"(?:稱為|稱作|稱之為|叫做|叫作|叫|又稱|又名|也稱|亦稱|俗稱|簡稱|別名是?|命名為|改名"
    r"為|(?<![一地人姓排書片])名為|改稱|更名為|學名是|學名為)(?:為|作|做)?+"
    rf"(?P<open>[「『《]?)(?P<term>[{_HAN}A-Za-z0-9·\- ]{{2,14}})(?P<close>[」』》]?)(?=[，。；]|$)"
)
_NOT_NAMED = re.compile(r"可以|能夠|(?:期間|以後|之後|以來|時)$")
"""The end of a clause that does not say what has the name."""
_IS = re.compile(
    r"^(?P<subject>[^，。；：、（）「」《》\d]{2,14}?)(?P<verb>是指|是|就是|為)(?P<what>[^，"
    r"。；：？]{4,48})(?=[，。；]|$)"
)
_NOT_SUBJECT = re.compile(
    r"[的在有和與而並也因由於被把將都但只不以及就才還更常]|最[^小大]|^[這那該此其他她它每某各一"
    r"第]|目前|現在|過去|以前|從前|後來|當時|曾經|主要|如果|可能|一般|傳統|可是|分別|特別|尤其|主角|自己|本人|[前後初中末]期$|應該?$"
    r"|(?:情況|優點|缺點|原因|結果|目的|特點|問題|方法|關鍵|名[字稱]?|意思)$"
    r"|[上時來然須直先後前也已曾皆均亦即則本原]$|^(?:飾演|扮演)"
)
_DEFINES = re.compile(
    r"^(?:一[種個座位類項條部款家間所支群套本份名]|指|[^在因由不]{0,30}(?:之一|的[^的]{1,12})$)"
)
_NO_DEFINITION = re.compile(
    r"(?:[後前時上中下]|期間|時候|時期|意思|形狀|樣子|原因|結果|地方|一座|一個|一種"
    r"|發生地|來源|渠道|骨幹|支柱|中心|地點|背景|象徵|標誌|核心|基礎|關鍵|重點|力量)$"
    r"|^[個位名以]|當時|當地|\d{3,4}年|被[^的]*$|於[^的]*$"
)
_LEAST_NEWS = 4
"""Distinct characters that a definition has to add to what it defines."""
_SOMEBODY = re.compile(
    rf"(?:{_ROLE}|人物|商人|詩人|軍人|藝人|演員|選手|國王|王后|皇后|將領|之[子女父母妻]|[長次幼獨養義三四五六七]子|[長次幼獨養義三四五六七]女|兒子|女兒|妻子|丈夫|弟弟|哥哥|後裔|"
    rf"貴族|球員|隊長|朋友|領袖|領導人|創始人|創辦人)(?:{_NAME})?$"
)

_BECAUSE = re.compile(
    r"^(?:由於|因為|為了)(?P<cause>[^，。；]{4,30})，(?:因此|所以|因而|故|於是)?(?P<effect>[^"
    r"，。；]{6,34})(?=[，。；]|$)"
)
_BECAUSE_INSIDE = re.compile(
    r"(?<!是)(?:因為|由於|因(?!應|素|數|果|子|緣|地))(?P<cause>[^，。；「」而]{2,16})(?:而|，"
    r"因此|，所以)(?!且|是|言|後)"
)
_POINTS = re.compile(r"[其該此這]")
"""What makes a cause lean on a sentence that is not quoted with it."""
_BECAUSE_AFTER = re.compile(
    r"(?:，|的(?:主要)?原因)?(?:主要)?是因為(?P<cause>[^，。；]{4,30})(?=[。；]|$)"
)

_CONNECTIVE = re.compile(
    r"^(?:舉例來[說講]|換言之|具體來說|總之|基本上|此外|另外|因此|然而|不過|其實|事實上|後來|隨後|之後|同時|例如|據說|據估計|一般來說|"
    r"總體來說|如今|最後|最終|今日|近年來"
    r"|目前|相傳|根據統計|據統計|所以|而且|但是|但|而|於是)，?"
)
_ACTIONS = (
    "指責|批評|改由|成立|設立|建成|完工|通車|出現|成為|造成|導致|引起|引發|"
    "進行|進入|獲得|取得|推出|發表|舉行|舉辦|召開|加入|前往|返回|抵達|離開|"
    "來到|回到|擔任|出任|當選|就任|辭去|辭職|接任|繼任|即位|登基|去世|逝世|"
    "病逝|出生|考入|考上|就讀|遷至|遷到|遷往|搬遷|改名|改稱|改為|更名|分為|"
    "分成|位於|位在|坐落|隸屬|屬於|負責|宣布|宣佈|決定|通過|簽訂|簽署|建立|"
    "創立|創辦|創建|製作|拍攝|主演|飾演|贏得|奪得|擊敗|打敗|攻占|攻陷|攻打|"
    "派遣|任命|冊封|授予|頒布|採用|提出|提供|提升|增加|減少|達到|超過|約為|"
    "高達|共有|現有|設有|擁有|具有|包含|包括|容納|耗資|佔地|占地|停止|結束|"
    "繼續|發布|發動|發生|進駐|參加|參與|取消|完成|宣告|改制|改變|繼承|繼位|"
    "簽定|提高|上升|下降|擴大|縮小|劃分|組建|播放|推動|推翻|上映|上市|開通|"
    "開工|開業|啟用|啟動|停用|關閉|廢除|廢止|解散|解除|戰勝|管轄|流入|流經|"
    "注入|發源|起源|源自|源於|來自|到達|制定|含有|認為|指出|證實|撰寫|編寫|"
    "執導|允許|禁止|拒絕|形成|產生|興盛|傳入|奪冠|晉級|突破|跌至|升至|增至|"
    "減至|降至|擴至|延長|縮短|接壤|會見|釋放|處死|處決|贈送|整併|加裝|主持|"
    "考察|率領|帶領|提倡|下詔|奪回|攻下|收復|遷都|建都|定都|討伐|征服|平定|"
    "冊立|擁立|廢黜|罷免|改組|創刊|復刊|停刊|復辟|退位|讓位|登陸|登上|榮獲|"
    "榮登|入選|受聘|獲頒|獲選|辭世|投奔|投靠"
)
"""Verbs that seldom begin a noun phrase."""
_EVENTS = (
    "建造|興建|修建|建設|發現|發明|發行|發展|出版|出土|取代|改建|改革|死亡|"
    "畢業|結婚|實施|實行|使用|利用|應用|超越|擴張|擴建|合併|分裂|組成|組織|"
    "播出|開放|開幕|開發|重建|重組|修正|修訂|修改|占領|佔領|攻擊|爆發|起義|"
    "入侵|進攻|投降|獨立|統一|統治|控制|管理|居住|定居|移居|生產|製造|設計|"
    "設置|存在|主張|表示|證明|預測|觀察|觀測|記載|描述|介紹|翻譯|創作|演出|"
    "演唱|支持|反對|批准|同意|要求|承認|保護|影響|衰落|消失|滅亡|盛行|流行|"
    "普及|傳播|引進|輸入|輸出|出口|進口|連接|相連|服務|運作|營運|工作|訪問|"
    "談判|逮捕|流放|捐贈|購買|收購|出售|投資|距離|解放"
)
"""Verbs that are nouns as well."""
_ADVERBS = "必須|長久以來|先後|陸續|希望|嘗試|試圖|企圖|偶有|正式|開始|隨即|立即|隨後|接著|因此"
_LEANS = re.compile(
    r"(?:^|[，；])(?:他|她|它|牠|其|這|那|該|此|本|兩者|二者|雙方|前者|後者|以上|以下|上述|之"
    r"後|隨後|其後|當中|當時|同年|翌年|隔年"
    r"|次年|同時|並|且|也|亦|又|則|而|但|卻|仍|還|再|甚至|以及|或|不過|因而|從此|至此|例如|像"
    r"|如|尤其|包括|另|加上|既|特別是|以後|後|及後|譬如|比如)"
    r"|(?:他|她|它|牠)(?:們)?|(?<!應)該|這|那[個些種裡時一]|^[^，]*其(?![他餘])|[^彼因如]此[^，]|此$"
    r"|當時|同年|同[月日]|翌年|隔年|次年|前者|後者"
    rf"|^(?:\d{{1,2}}|[{_NUMERAL}幾數半]{{1,3}})多?個?(?:世紀|年|月|天|日|星期|小時)[之以]?後"
    r"|(?:^|[，；])(?:農曆)?[\d一二三四五六七八九十]{1,3}[月日]|^(?:[的之等了們間]|指的是|即)|("
    r"?:^|，)(?:因|"
    r"若|當|雖)[^，]*(?:哪裡|什麼)$|的召開$|(?<![原"
    r"規準法守細否])則[於在"
    r"是為有由]|上述|前述|如下|如上|以下|下列|其中|另[一外]|其他|其餘|(?<![稱叫名])[亦也]|本["
    r"書文片劇集章節]|我們|您|你|(?:境內|當地|區內|城內|島上|校內|兩國|兩地|兩人)"
)
_UNFINISHED = re.compile(
    r"(?:^|，)(?:[^，]{0,24}(?:年|月|日|前|起|間|中|下|內|來|期|初|末|底|世紀|年代|時代|外)"
    r"|[^，]*(?:會|會議|典禮|儀式|途|過程)上|(?:根據|依據|依照|按照|隨著|伴隨著|除了|除|自從|經"
    r"過|為(?:了|推行|解決|避免|防止|紀念|加強|保護|提高|促進|滿足|配合|爭取|實現)|由於|因為|當|雖然|儘管|如果|若|即"
    r"使)[^，]*"
    r"|[^，]*(?:之後|以後|之前|以前|之際|期間|方面|而言|來說|情況下|影響下)"
    r"|[^，]*(?:(?<![發興引])起|(?<![先今])後|(?<!小)時)"
    r"|[^，]*[》」]中"
    r"|[^，]*由於[^，而才]*"
    r"|[^，]*(?:雖然?|儘管|既|不僅|不但|不只|無論|除了)[^，]*"
    r"|[^，]*(?:證明|發現|認為|指出|主張|提出|表示|規定|宣布|宣稱|顯示|相信|決定|記載|報告|說|是|為|以及|包括|的))$"
)
_WAITS = re.compile(
    r"隨著|因為|由於|基於|鑑於|鑒於|藉由|透過|對於|關於|至於|作為|為了|為因應|依照|按照|根據|依據|憑藉|趁"
)
"""Prepositions of a clause that the next one completes."""
_BEGINS = (
    "成立|建立|設立|創立|創辦|創建|建成|興建|始建|建|誕生|出生|生|卒|逝世|始|完成|完工|落成|通車|開業|發生"
    "|開始|結束|終"
)
"""Verbs that a date completes."""
_OPENING_TIME = (
    r"(?:(?:在|於|自|從|到|至|直到|截至)?(?:公元|西元|民國)?前?"
    rf"(?:哪一年|哪一天|什麼時候|[\d{_NUMERAL}元]{{1,4}}年(?:[\d{_NUMERAL}]{{1,3}}月)?"
    rf"(?:[\d{_NUMERAL}]{{1,3}}日)?|[^，]{{0,6}}(?:世紀|年代|時期|期間))"
    r"(?:[初末底起間中]|以來|時|後|的時候)?，?"
    r"|(?:在|於|自|從|隨著|根據|依據|按照|截至|直到|到|至)[^，]{2,30}，)*"
)
_FIRST_WORD = (
    "[與跟把被使讓給於是並才就便均皆曾沒須只僅遂竟又仍還]|受(?!害|傷|難)|獲(?!獎)|由|已(?!故)|和(?!平|約|氏)"
    "|對(?!外|手|岸)|向(?!日)|將(?!軍|領|士|介)|令(?!狐)|因(?!果|素|子|紐)|有(?!些|機|限|關|名|線|的)|再(?!生)"
    "|即(?!時|墨)|都(?!市|柏|靈|城|會|江|督|護|察|指)|未(?!來|央|婚)|不(?!列|丹|來|同|明|少|鏽)"
    "|無(?!線|人|名|產|國|錫|政|罪)|可(?!口|汗|可)|能(?!量|源|人)|會(?!議|員|長|計|社|館|稽)|應(?!用|屆|縣)"
    "|需(?!求)|必(?!要)|更(?!新|生)|最(?!高|大|小|新|低|後|佳|重|具|長|著)|終(?!身|極|端)"
    "|先(?!秦|進|生|鋒|民|知|驗)|一(?![些種個名位般座支批部家群世戰帶條項艘架隻次號年])|為(?!什麼)"
)
"""Adverbs and prepositions, unless they are the first character of a noun."""
_NO_SUBJECT = re.compile(
    rf"^為什麼[在於]|^(?:自|從)(?:哪一年|哪一天|什麼時候)(?!起|開始|以來|，|至|到|直到)"
    rf"|^(?:為什麼)?{_OPENING_TIME}(?:為什麼)?(?:{_FIRST_WORD}|{_ADVERBS}|{_ACTIONS}|(?:{_BEGINS})於)"
)
"""A stem whose first words, after its times and places, are a verb, adverb or preposition."""
_PAIRS = (
    ("「", "」"),
    ("『", "』"),
    ("（", "）"),
    ("(", ")"),
    ("《", "》"),
    ("“", "”"),
    ("〈", "〉"),
)
_ASIDE = re.compile(r"（[^（）]*）|\([^()]*\)")

_VERB = re.compile(
    r"[是為在於有被將把給讓使成開建立設發出進入獲得達完宣過改定任行始返加攻破占佔擊敗離住死亡"
    r"逝生產作做製造辦提創取收"
    r"購投訂簽結併遷搬升降增減交換推執拍演播選贏奪授頒修擴拆毀殺捕釋派率撤退登抵飛航啟用營停"
    r"關閉延繼續轉變裂散組編寫"
    r"著譯印錄唱畫讀學研測觀證認指示說稱叫列納屬約長高寬深重超突近居擁含共計僅通舉來到獻征滅"
    r"降叛訪會接受支持統治]"
)
_PREDICATE = re.compile(
    r"[是為有被將把使讓令了過達獲占佔攻滅敗遷搬派率撤奪授頒殺捕]|成(?![員都就])"
    rf"|{_ACTIONS}|(?:{_EVENTS})(?![案法權率者家員局部會處院站場品量力性化式地區期])"
)
_FOLDED_COMMA = re.compile(rf"(?<=[{_HAN}」』》）\d]),(?=\s?[{_HAN}「『《])")
_HAPPENED = re.compile(rf"(?:{_BEGINS})於$")
"""A clause that a date completes."""
_MOST_COMMAS = 2
_OWNER = re.compile(r"^(?P<owner>[^，。；：、（）「」《》\d是為在於有的]{2,14})(?:是|為|，)[^在於]")
_OWNED = re.compile(
    r"^(?:位於|位在|坐落於|座落於|坐落在|設於|設在|發源於|簡稱|又稱|又名|俗稱|也稱|亦稱|古稱|舊稱)"
)
"""What the subject of a sentence's first clause says of itself in a later one."""
_SHORT = 34
_SHORTEST_STEM, _SHORTEST_UNNAMED = 5, 6
LONGEST_STEM = 62
"""Characters of the longest part of a sentence that becomes a question."""


def clozes(title: str, text: str) -> list[Cloze]:
    """All questions that the rules find in a text, in its order.

    Args:
        title: The text's subject; it scopes a question that does not name it.
        text: Traditional Chinese prose.
    """
    subject = plain_title(title)
    found: list[Cloze] = []
    for span in sentences(text):
        evidence = text[span.start : span.end].strip()
        if not 8 <= len(evidence) <= 160 or "？" in evidence or not _balanced(evidence):
            continue
        sentence = _FOLDED_COMMA.sub("，", evidence)
        for rule in _RULES:
            for blank in rule(sentence, subject):
                question = _question(sentence, blank, subject)
                if question is not None and blank.answer in evidence:
                    found.append(Cloze(question, blank.kind, blank.answer, evidence))
    return found


def spans(sentence: str, title: str) -> list[tuple[str, str]]:
    """All (kind, span) of a sentence that a question could ask for, whether or not it leans."""
    subject = plain_title(title)
    return [(blank.kind, blank.answer) for rule in _RULES for blank in rule(sentence, subject)]


def plain_title(title: str) -> str:
    """A title without its disambiguation, 「腓力五世_(西班牙)」 to 「腓力五世」."""
    return re.sub(r"[_\s]*[（(].*?[)）]\s*$", "", title).replace("_", " ").strip()


def _question(sentence: str, blank: Blank, title: str) -> str | None:
    """The part of the sentence around the blank as a question; None when it cannot stand alone."""
    stem = blank.wh if blank.whole else _asked(sentence, blank, title)
    if stem is None:
        return None
    stem = _CONNECTIVE.sub("", _ASIDE.sub("", stem))
    stem = re.sub(r"^(?P<wh>哪一年|什麼時候|哪一天)，", r"\g<wh>", stem)
    stem = stem.strip("，。；：、！ \n")
    body = re.sub(r"^(?:為什麼|哪一年|什麼時候|哪一天)", "", stem)
    if (
        "：" in stem
        or "\n" in stem
        or blank.answer.strip("《》") in stem
        or stem.count("，") > _MOST_COMMAS
        or not _SHORTEST_STEM <= len(stem) <= LONGEST_STEM
        or not _balanced(stem)
        or _LEANS.search(stem)
        or _LEANS.search(body)
        or _NO_SUBJECT.search(stem)
        or (_UNFINISHED.search(stem) and not _HAPPENED.search(stem.removesuffix(blank.wh)))
    ):
        return None
    if not _names(stem, title):
        if len(body) < _SHORTEST_UNNAMED:
            return None
        if fold(title) in fold(blank.answer) or fold(blank.answer) in fold(title):
            return None
        stem = f"關於「{title}」，{stem}"
    return f"{stem}？"


def _asked(sentence: str, blank: Blank, title: str) -> str | None:
    """The clauses around the blank with the wh-word in its place; None when no verb is left."""
    end = _end(sentence, blank)
    before, after = sentence[: blank.start], sentence[blank.end : end]
    if not _VERB.search(_ASIDE.sub("", before + after)):
        return None
    clause = before[before.rfind("，") + 1 :]
    owner = _OWNER.match(before)
    if owner and _OWNED.match(clause) and (blank.kind == "place" or _names(owner[1], title)):
        before = f"{owner['owner']}{clause}"
    return f"{before}{blank.wh}{after}"


def _end(sentence: str, blank: Blank) -> int:
    """The end of the first clause that has the blank and is whole."""
    stops = sentence[blank.end : blank.end + 1] in ("，", "；", "。", "")
    if stops and (blank.wh in ("哪裡", "什麼") or _HAPPENED.search(sentence[: blank.start])):
        return blank.end
    cuts = [match.start() for match in re.finditer(r"[，；：。！]", sentence)] + [len(sentence)]
    ends = [cut for cut in cuts if cut >= blank.end and _balanced(sentence[:cut])]
    if len(sentence) <= _SHORT and blank.kind in ("time", "number"):
        return len(sentence)
    first = max(sentence.rfind(mark, 0, blank.start) for mark in "，；：") + 1
    for start, end in zip([first, *ends], ends, strict=False):
        final = sentence[end : end + 1] in ("。", "！", "")
        clause = sentence[max(start, blank.end if blank.kind == "time" else 0) : end]
        waits = _UNFINISHED.search(sentence[:end]) or _WAITS.search(clause) or _is_fragment(clause)
        if final or not waits:
            return end
    return len(sentence)


def _is_fragment(clause: str) -> bool:
    """Whether a clause seems to be a noun phrase or adverbial that waits for its verb."""
    if re.search(r"[是為有將被把使讓令成了]", clause):
        return False
    return not _PREDICATE.search(re.sub(r"^[^，]*的|在|於", "", clause))


def _names(stem: str, title: str) -> bool:
    """Whether a question shares a pair of characters with the title, or the whole short title."""
    stem, title = fold(stem), fold(title)
    if len(title) < 2:
        return title in stem
    return any(title[i : i + 2] in stem for i in range(len(title) - 1))


def _balanced(text: str) -> bool:
    return all(text.count(left) == text.count(right) for left, right in _PAIRS)


def _dates(sentence: str, title: str) -> Iterator[Blank]:
    for match in _DATE.finditer(sentence):
        if not match["era"] and len(match["year"]) < 3:
            continue
        if not match["era"] and not match["year"].isdigit():
            continue
        if _inside_aside(sentence, match.start()):
            continue
        if _NOT_WHEN.search(sentence[: match.start()]):
            continue
        wh = "哪一天" if match["day"] else "什麼時候" if match["month"] else "哪一年"
        yield Blank(match.start(), match.end(), wh, "time", match[0])


def _numbers(sentence: str, title: str) -> Iterator[Blank]:
    for match in _NUMBER.finditer(sentence):
        value, unit = match["value"], match["unit"]
        chinese = value[0] in _NUMERAL
        if value in ("一", "1", "零", "〇", "百", "千", "萬", "億", "兩") and unit not in ("倍",):
            continue
        rest = sentence[match.end() :]
        if re.match(rf"[{_HAN}]{{0,5}}(?:中的|的第)|是", rest):
            continue
        dated = unit == "年" and (
            chinese
            or len(value) >= 3
            or rest[:1] in ("初", "末", "底", "間")
            or _era(sentence, match)
        )
        if dated or _inside_aside(sentence, match.start()):
            continue
        if "之一" in re.split("[，；。]", rest)[0] or (unit in _SPANS and rest.startswith("後")):
            continue
        if chinese and unit in (
            "國",
            "度",
            "級",
            "元",
            "人",
            "部",
            "本",
            "家",
            "省",
            "州",
            "層",
            "字",
            "首",
            "天",
            "屆",
            "次",
        ):
            continue
        yield Blank(match.start(), match.end(), f"多少{unit}", "number", match[0])
    for match in _PERCENT.finditer(sentence):
        if not _inside_aside(sentence, match.start()):
            yield Blank(match.start(), match.end(), "百分之多少", "number", match["value"])
    for match in _ORDINAL.finditer(sentence):
        if not sentence[match.end() :].startswith("世"):
            yield Blank(match.start(), match.end(), f"第幾{match['unit']}", "number", match[0])


def _era(sentence: str, match: re.Match[str]) -> bool:
    """Whether a number of years counts from an emperor or republic."""
    return bool(re.search(rf"(?:{_ERAS})$", sentence[: match.start()]))


def _persons(sentence: str, title: str) -> Iterator[Blank]:
    for match in _ROLE_NAME.finditer(sentence):
        role, name = match["role"], match["name"]
        named = _IS_NAME.search(name) or "日本" in role
        if named and not _NOT_ROLE.search(role) and not _NOT_IN_NAME.search(name):
            yield Blank(match.start(), match.end(), f"哪一位{role}", "person", name)
    for match in _SURNAME_NAME.finditer(sentence):
        if not _NOT_IN_NAME.search(match["name"]):
            yield Blank(match.start("name"), match.end("name"), "誰", "person", match["name"])
    for match in _AGENT.finditer(sentence):
        name = match["name"].strip()
        wh = next((wh for body, wh in _BODIES if body.search(name)), None)
        if wh is None and _PERSON.search(name) and not _NOT_PERSON.search(name):
            wh = "誰"
        if wh is not None and "的" not in name:
            yield Blank(match.start("name"), match.end("name"), wh, "person", name)


def _places(sentence: str, title: str) -> Iterator[Blank]:
    for pattern in (_PLACE, _ORIGIN):
        for match in pattern.finditer(sentence):
            place = match["place"]
            loose = re.search(r"劃歸|[該此其]|^[市區縣境]內$|[後前時]$", place) or (
                "的" in place and not re.search(r"[側部方面邊界處間內岸端區帶角旁麓緣濱]$", place)
            )
            if not loose and not re.search(r"[是有原]$", sentence[: match.start()]):
                yield Blank(match.start("place"), match.end("place"), "哪裡", "place", place)


def _works(sentence: str, title: str) -> Iterator[Blank]:
    if sentence.count("《") != 1:
        return
    for match in _WORK.finditer(sentence):
        if sentence[: match.start()].endswith(_WORK_CLASSES):
            continue
        wh = next((wh for kind, wh in _WORK_KINDS if kind.search(match["work"])), None)
        if wh is None and match["noun"] and _BEFORE_NOUN.search(sentence[: match.start()]):
            wh = f"哪一部{match['noun']}"
        if wh is None and (match["after"] or _WRITES.search(sentence[: match.start()])):
            wh = "哪一部作品"
        if wh is not None:
            yield Blank(match.start(), match.end(), wh, "work", f"《{match['work']}》")


def _terms(sentence: str, title: str) -> Iterator[Blank]:
    for match in _CALLED.finditer(sentence):
        opened, closed = match["open"], match["close"]
        if bool(opened) != bool(closed) or re.search(r"[或和與及]", match["term"]):
            continue
        clause = _ASIDE.sub("", sentence[: match.start()]).rpartition("，")[2]
        if re.search(r"[的是在了]", match["term"]) or _NOT_NAMED.search(clause):
            continue
        yield Blank(match.start("open"), match.end("close"), "什麼", "term", match["term"])


def _definitions(sentence: str, title: str) -> Iterator[Blank]:
    match = (
        _IS.match(_ASIDE.sub("", sentence)) if sentence.startswith(title) else _IS.match(sentence)
    )
    if match is None or match["what"] not in sentence:
        return
    subject, what = match["subject"].strip(), match["what"]
    about = fold(subject) == fold(title)
    if not about and (_NOT_SUBJECT.search(subject) or match["verb"] == "為"):
        return
    if re.match(r"[在因由不否非很最了否誰]|什麼", what) or re.search(
        r"[的是為和與及在]$|[該此其]", what
    ):
        return
    tells = len(set(what) - set(subject)) > _LEAST_NEWS
    if tells and _DEFINES.match(what) and not _NO_DEFINITION.search(what):
        somebody = bool(_SOMEBODY.search(what))
        wh, kind = ("誰", "person") if somebody else ("什麼", "definition")
        yield Blank(0, 0, f"{subject}是{wh}", kind, what, whole=True)


def _causes(sentence: str, title: str) -> Iterator[Blank]:
    body = _CONNECTIVE.sub("", sentence)
    if match := _BECAUSE.match(body):
        effect = match["effect"]
        if _is_effect(effect) and not _POINTS.search(match["cause"]):
            yield Blank(0, 0, f"為什麼{effect}", "cause", match["cause"], whole=True)
    for match in _BECAUSE_INSIDE.finditer(sentence):
        subject = sentence[: match.start()]
        effect = re.split("[，；。]", sentence[match.end() :])[0]
        if (
            2 <= len(subject) <= 20
            and not re.search(r"[，雖是]|儘管|而後|[常又]$", subject)
            and _is_effect(f"{subject}{effect}")
            and not _POINTS.search(match["cause"])
        ):
            yield Blank(0, 0, f"{subject}為什麼{effect}", "cause", match["cause"], whole=True)
    if match := _BECAUSE_AFTER.search(body):
        effect = body[: match.start()]
        if "，" not in effect and not _POINTS.search(match["cause"]):
            yield Blank(0, 0, f"為什麼{effect}", "cause", match["cause"], whole=True)


def _is_effect(clause: str) -> bool:
    """Whether a clause says by itself that something happened or is so."""
    return not re.search(r"[上時後前外]$", clause) and bool(
        re.search(r"[是為有將被把使讓令成了]", clause)
        or _PREDICATE.search(clause.rpartition("的")[2])
        or re.search(r"[需應須購訂任稱遷升降增減聚較很更越]", clause.rpartition("的")[2])
    )


def _inside_aside(sentence: str, position: int) -> bool:
    before = sentence[:position]
    return any(
        before.count(left) > before.count(right)
        for left, right in (("（", "）"), ("(", ")"), ("《", "》"))
    )


_RULES: tuple[Callable[[str, str], Iterator[Blank]], ...] = (
    _dates,
    _numbers,
    _persons,
    _places,
    _works,
    _terms,
    _definitions,
    _causes,
)
